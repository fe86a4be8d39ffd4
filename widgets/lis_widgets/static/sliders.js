// Rows of sliders. The value follows the hand at once; the kernel hears of it through the courier. After kit.js.

const PLAY_STEPS = 50; // from one end of the observed range to the other
const PLAY_PAUSE = 40; // ms at least between two steps

function render({ model, el }) {
  keepKeys();
  const box = element("div", { class: "lis-sliders" });
  el.appendChild(box);
  const post = courier(model, box, { taken: model.get("moved") });
  let lines = new Map(); // key -> the row's elements and value
  let pending = new Map(); // key -> value, moved and not sent yet
  let playing = null; // { key, up, timer, next }

  const clamp = (row, value) => Math.min(row.high, Math.max(row.low, value));
  const step = (row) => (row.seen_high - row.seen_low || row.high - row.low) / 100;
  // Whether the hand has moved a slider since what the kernel now says of it.
  const ahead = (line, known) => line.sent > known && line.sent > post.answered;
  const text = (row, value) => value.toFixed(row.digits);

  // ---- one row

  function build(row) {
    const line = { row, value: row.value, sent: 0, dragged: false, told: null };
    const name = row.label;
    const id = `lis-${Math.random().toString(36).slice(2)}`;
    line.range = element("input", {
      id, type: "range", class: "lis-slider", "data-key": row.key, min: row.low, max: row.high, step: "any",
    });
    line.number = element("input", { type: "number", class: "lis-number lis-focusable", step: "any" });
    line.name = element("label", { for: id, class: "lis-name" });
    line.play = iconButton("play", "", { class: "lis-play" });
    line.track = element("div", { class: "lis-track" });
    line.buttons = element("div", { class: "lis-buttons" });
    line.root = element("div", { class: "lis-unit", role: "group", "data-key": row.key },
      line.name, line.play, line.track, line.number, line.buttons);

    line.range.addEventListener("input", () => byHand(line, Number(line.range.value)));
    line.range.addEventListener("pointerdown", () => { line.dragged = true; stop(); });
    for (const end of ["pointerup", "pointercancel", "change", "blur"]) {
      line.range.addEventListener(end, () => {
        line.dragged = false;
        if (line.told !== null) place(line, line.told);
      });
    }
    const keys = (event) => {
      const field = event.target === line.number; // there only up and down are not about the text
      const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
      const end = { Home: line.row.low, End: line.row.high }[event.key];
      if ((way === undefined && end === undefined) || event.ctrlKey || event.altKey || event.metaKey) return;
      if (field && event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
      event.preventDefault(); // also keeps JupyterLab's own shortcuts out
      event.stopPropagation();
      const by = way * step(line.row) * (event.shiftKey && Math.abs(way) === 1 ? 10 : 1);
      byHand(line, end ?? line.value + by);
    };
    line.range.addEventListener("keydown", keys);
    line.number.addEventListener("input", () => { stop(); line.number.setCustomValidity(""); });
    line.number.addEventListener("change", () => typed(line));
    line.number.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") place(line, line.value);
      keys(event);
    });
    line.number.addEventListener("blur", () => place(line, line.value));
    line.play.addEventListener("click", () => (playing?.key === line.row.key ? stop() : start(line)));
    dress(line, row);
    return line;
  }

  // What the row says, apart from its value.
  function dress(line, row) {
    line.row = row;
    const name = row.label;
    line.root.setAttribute("aria-label", name);
    line.name.textContent = name;
    line.name.title = row.tooltip || name;
    line.range.min = row.low;
    line.range.max = row.high;
    line.number.setAttribute("aria-label", `${name}, value`);
    const along = (value) => (clamp(row, value) - row.low) / (row.high - row.low);
    const marks = [element("span", { class: "lis-rail" })];
    const bounded = row.seen_low > row.low || row.seen_high < row.high;
    line.track.style.setProperty("--seen-low", along(row.seen_low));
    line.track.style.setProperty("--seen-high", along(row.seen_high));
    marks.push(element("span", { class: "lis-seen" }));
    if (row.own !== null) {
      line.track.style.setProperty("--own", along(row.own));
      marks.push(element("span", { class: "lis-own", title: `${row.own_name}: ${text(row, row.own)}` }));
    }
    marks.push(line.range);
    if (bounded) {
      marks.push(element("span", { class: "lis-end lis-low", "aria-hidden": "true" }, text(row, row.seen_low)));
      marks.push(element("span", { class: "lis-end lis-high", "aria-hidden": "true" }, text(row, row.seen_high)));
    }
    line.range.title = `${row.seen_name}: ${text(row, row.seen_low)} to ${text(row, row.seen_high)}`;
    line.track.classList.toggle("lis-marked", bounded);
    line.track.replaceChildren(...marks);
    face(line);

    const buttons = [];
    const button = (kind, label, action, more = {}) => {
      const made = iconButton(kind, label, { class: `lis-${kind}`, ...more });
      made.addEventListener("click", () => {
        stop();
        post.pass({ kind: "action", key: row.key, action });
      });
      buttons.push(made);
    };
    if (row.own !== null) button("reset", `set ${name} to ${row.own_name}`, "reset");
    if (row.pinned !== null) {
      button("pin", row.pinned ? `unpin ${name}` : `pin ${name}: keep it while others are chosen`,
        row.pinned ? "unpin" : "pin", { "aria-pressed": String(row.pinned) });
    }
    if (row.removable) button("remove", `remove ${name}`, "remove");
    line.buttons.replaceChildren(...buttons);
  }

  function face(line) {
    const on = playing?.key === line.row.key;
    const label = on ? `pause ${line.row.label}` : `play ${line.row.label} along its ${line.row.seen_name}`;
    line.play.replaceChildren(icon(on ? "pause" : "play"));
    line.play.title = label;
    line.play.setAttribute("aria-label", label);
  }

  // ---- values

  function place(line, value) {
    const { row } = line;
    line.told = null;
    line.value = value; // what Python set may lie beyond the limits: the number says so, the slider is at its end
    line.range.value = clamp(row, value);
    const shown = text(row, line.value);
    const outside = line.value < row.seen_low || line.value > row.seen_high;
    line.range.setAttribute("aria-valuetext", outside ? `${shown}, outside the ${row.seen_name}` : shown);
    line.root.classList.toggle("lis-outside", outside);
    line.number.setCustomValidity("");
    line.number.value = shown;
  }

  // The kernel's value; one that is held goes there when it is let go, unless it was moved since.
  function take(line, value) {
    if (line.dragged) line.told = value;
    else place(line, value);
  }

  function move(line, value) {
    place(line, clamp(line.row, value));
    pending.set(line.row.key, line.value);
    line.sent = Infinity; // until it is
    post.send(() => {
      for (const key of pending.keys()) if (lines.has(key)) lines.get(key).sent = post.number;
      const values = Object.fromEntries(pending); // of any name, "__proto__" too
      pending = new Map();
      return { kind: "move", values };
    });
    remember();
  }

  function byHand(line, value) {
    stop();
    move(line, value);
  }

  function typed(line) {
    stop();
    const value = line.number.valueAsNumber;
    const { row } = line;
    if (Number.isFinite(value) && value >= row.low && value <= row.high) {
      move(line, value);
      return;
    }
    line.number.setCustomValidity(`a number from ${text(row, row.low)} to ${text(row, row.high)}`);
    line.number.reportValidity();
  }

  // Other views of these sliders in the page, and what a notebook saves, follow too; nothing is sent by this.
  let remembering = false;
  function remember() {
    remembering = true;
    model.set("rows", model.get("rows").map((row) => ({ ...row, value: lines.get(row.key)?.value ?? row.value })));
    remembering = false;
  }

  // ---- playing: one step a picture

  function start(line) {
    stop();
    const { row } = line;
    playing = { key: row.key, up: line.value < row.seen_high, at: 0, timer: 0 };
    face(line);
    advance();
  }

  function stop() {
    if (!playing) return;
    clearTimeout(playing.timer);
    const line = lines.get(playing.key);
    playing = null;
    if (line) face(line);
  }

  function advance() {
    const line = playing && lines.get(playing.key);
    if (!line) return;
    const { row } = line;
    const by = (row.seen_high - row.seen_low) / PLAY_STEPS;
    let next = line.value + (playing.up ? by : -by);
    if (next >= row.seen_high) [next, playing.up] = [row.seen_high, false];
    else if (next <= row.seen_low) [next, playing.up] = [row.seen_low, true];
    playing.at = performance.now();
    move(line, next);
  }

  function answered() {
    if (!playing || post.answered < post.number) return;
    clearTimeout(playing.timer);
    playing.timer = setTimeout(advance, Math.max(0, PLAY_PAUSE - (performance.now() - playing.at)));
  }

  // ---- from the kernel

  function receive(message) {
    if (message?.kind === "shown") answered();
    if (message?.kind !== "values") return;
    for (const [key, value] of Object.entries(message.values)) {
      const line = lines.get(key);
      if (!line || ahead(line, message.number)) continue;
      if (playing?.key === key && Math.abs(value - line.value) > 1e-9) stop();
      take(line, value);
    }
    remember();
  }

  function draw() {
    if (remembering) return;
    const rows = model.get("rows");
    const old = lines;
    lines = new Map();
    for (const row of rows) {
      const line = old.get(row.key);
      if (!line) {
        lines.set(row.key, build(row));
      } else {
        lines.set(row.key, line);
        if (JSON.stringify({ ...line.row, value: 0 }) !== JSON.stringify({ ...row, value: 0 })) dress(line, row);
        else line.row = row;
        if (ahead(line, model.get("moved"))) continue;
      }
      if (document.activeElement !== lines.get(row.key).number) take(lines.get(row.key), row.value);
    }
    if (playing && !lines.has(playing.key)) playing = null;
    // Equal room for buttons, so that the sliders line up.
    const counts = rows.map((row) => (row.own !== null) + (row.pinned !== null) + row.removable);
    box.style.setProperty("--buttons", Math.max(0, ...counts));
    // Only what changed is moved in the page: the focus stays where it is.
    for (const [key, line] of old) if (lines.get(key) !== line) line.root.remove();
    [...lines.values()].forEach((line, index) => {
      const there = box.querySelectorAll(":scope > .lis-unit")[index];
      if (there !== line.root) box.insertBefore(line.root, there ?? null);
    });
    remember(); // where the hand was ahead: else the same rows, sent again, would be no change
  }

  model.on("change:rows", draw);
  model.on("msg:custom", receive);
  draw();
  return () => {
    stop();
    post.end();
    model.off("change:rows", draw);
    model.off("msg:custom", receive);
  };
}

export default { render };
