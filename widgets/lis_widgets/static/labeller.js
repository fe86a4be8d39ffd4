// The part labeller put together: pictures, tools, keys, saving. After kit.js and the other labeller_*.js.

const HISTORIES = 20; // pictures whose undo is kept
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function render({ model, el }) {
  keepKeys();
  const names = model.get("names");
  const files = model.get("files");
  const panel = labellerPanel(names, model.get("colours"));
  const { root, holder } = panel;
  el.appendChild(root);
  const stage = new Stage(holder, model.get("colours"));
  const painter = new Painter((box) => stage.changed(box), () => saver.save(file, painter.map.data));
  const saver = new Saver(model, { silent, state, refused, unkept: () => panel.tell(panel.note, TOLD.unkept) });
  const histories = new Map(); // file -> { history, key } of pictures left

  let file = null; // whose map is shown
  let guess = null;
  let hand = null; // where the pointer is, in the page; null while it is elsewhere
  let cursor = null; // the keyboard's, a pixel; null while the pointer is used
  let drag = null; // of the picture
  let spaceDown = false;
  let held = null; // the pointer that is down; others are passed over meanwhile
  let reloading = false; // the file is to replace what was painted

  const index = () => model.get("index");
  const pixel = ({ x, y }) => ({ x: Math.floor(x), y: Math.floor(y) });
  const middle = () => ({ x: painter.map.width >> 1, y: painter.map.height >> 1 });
  const pointer = () => hand && stage.locate(hand); // in the picture, which may move below it
  const hovered = () => (hand && stage.inside(pointer()) ? pixel(pointer()) : null);
  const brushAt = (at) => (painter.size % 2 ? pixel(at) : { x: Math.round(at.x), y: Math.round(at.y) });
  const bytesOf = (name) => {
    const value = model.get(name);
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  };

  // ---- what is said

  function describe() {
    const at = cursor ?? hovered();
    const there = at ? names[painter.at(at)] : "";
    const { width, height } = painter.map;
    const zoom = stage.zoom >= 1 ? `${Number(stage.zoom.toFixed(1))} ×` : `${Math.round(stage.zoom * 100)} %`;
    panel.readout.textContent = `${width} × ${height} px, shown ${zoom}${at ? ` · x ${at.x}, y ${at.y}: ${there}` : ""}`;
    const where = cursor ? `cursor at ${at.x}, ${at.y}: ${there}` : "arrow keys move a cursor";
    holder.setAttribute("aria-label", `${model.get("titles")[index()] ?? ""}; ${where}`);
    panel.rows.forEach((row, i) => row.classList.toggle("lis-there", there === names[i]));
    panel.dress(painter, guess);
  }

  const refresh = () => panel.list(model.get("marks"), model.get("titles"), index());

  function state(kind) {
    if (kind === "saving" && root.dataset.saved === "failed") return; // until an answer comes
    if (kind === "done") panel.tell(panel.problem, "");
    panel.badge(kind);
  }

  function silent() {
    const stake = saver.keeps ? TOLD.kept : TOLD.unkept;
    panel.tell(panel.problem, `${TOLD.silent} ${saver.waits ? stake : ""}`);
    if (saver.waits) state("failed");
  }

  function refused(name, text, changed) {
    const reload = panel.action("Reload the file", "Undo then brings back what you painted", () => {
      reloading = true;
      saver.send({ kind: "reload" });
    });
    panel.tell(panel.problem, text, ...(changed && name === file ? [reload] : []));
    if (name) state("failed");
  }


  // ---- to the kernel and back

  function go(to) {
    panel.choice.value = String(index());
    if (to < 0 || to >= files.length || to === index()) return;
    painter.finish();
    saver.send({ kind: "go", index: to });
  }

  function goOn() {
    const marks = model.get("marks");
    const order = files.map((_, i) => (index() + 1 + i) % files.length);
    go(order.find((i) => !marks[i] && i !== index()) ?? -1);
  }

  function receive(message) {
    saver.receive(message);
    if (message.kind === "keys" && message.view === saver.view) offer(message.keys);
    // Painted in another view of this labeller: its labels are not sent to all.
    const other = message.kind === "saved" && message.view !== saver.view ? message.key : null;
    if (message.file === file && other && other !== contentKey(painter.map.data)) catchUp();
  }

  function catchUp() {
    if (!saver.waiting(file) && !painter.stroke) saver.ask({ kind: "reload" });
  }

  // Strokes that an earlier kernel never confirmed, where the file is still what they were painted on.
  function offer(keys) {
    if (keys[file] && keys[file] !== saver.known.get(file)) catchUp();
    const found = saver.newer(keys, painter.map.data.length);
    if (!found.length) return;
    const restore = panel.action("Restore and save", "", () => {
      panel.tell(panel.offer, "");
      for (const [name, entry] of found) {
        if (name === file) painter.replace(entry.data);
        else saver.save(name, entry.data, entry.bases);
      }
      if (!found.some(([name]) => name === file)) go(files.indexOf(found[0][0]));
      describe();
    });
    const drop = panel.action("Discard", "", () => {
      panel.tell(panel.offer, "");
      for (const [name] of found) saver.kept.drop(name);
    });
    const titles = found.map(([name, { at }]) => `${titleOf(name)} (${new Date(at).toLocaleString()})`);
    panel.tell(panel.offer, `The kernel stopped before it had saved all strokes of ${titles.join("; ")}.`, restore, drop);
  }

  const titleOf = (name) => model.get("titles")[files.indexOf(name)];

  function unsaved() {
    const names = [...saver.failed.keys()];
    return names.length ? `Not saved yet: ${names.map(titleOf).join("; ")}. Go there to save it again.` : "";
  }

  // Back at a picture whose strokes could not be saved: what is in its file is shown.
  function askBack(data) {
    const name = file;
    const restore = panel.action("Restore and save", "Undo then brings back what is in the file", () => {
      panel.tell(panel.offer, "");
      if (name !== file) return;
      painter.replace(data);
      commands.s(); // also where there is nothing to replace
    });
    const drop = panel.action("Discard", "", () => {
      panel.tell(panel.offer, "");
      saver.failed.delete(name);
      saver.kept.drop(name);
      show();
    });
    panel.tell(panel.offer, "Your last strokes of this picture could not be saved.", restore, drop);
  }

  // The kernel shows a picture: another one, or the present one again.
  function show() {
    const [height, width] = model.get("size");
    const name = files[index()];
    const data = bytesOf("label_bytes").slice();
    const found = bytesOf("guess_bytes");
    const ours = name === file && (saver.waiting(name) || painter.stroke) && !reloading; // newer than the kernel's
    const back = name !== file && saver.failed.get(name);
    if (reloading) saver.failed.delete(name);
    guess = data.length && found.length === data.length ? found.slice() : null;
    if (name !== file) {
      painter.finish(); // a stroke under the hand belongs to the picture that goes
      if (file) histories.set(file, { history: painter.history, key: contentKey(painter.map.data) });
      if (histories.size > HISTORIES) histories.delete(histories.keys().next().value);
      const old = histories.get(name);
      painter.open({ data, width, height }, old?.key === contentKey(data) ? old.history : new LabelHistory());
      histories.delete(name);
      file = name;
      drag = null;
      panel.brush.max = Math.max(16, Math.round(width / 8));
      if (cursor) cursor = { x: Math.min(cursor.x, width - 1), y: Math.min(cursor.y, height - 1) };
    } else if (!ours) {
      painter.stroke = null;
      const before = painter.map.data;
      const box = changedBox(before, data, width);
      painter.map.data = data;
      if (box) painter.history.push(before, painter.map, box);
    }
    painter.locked = model.get("locked");
    reloading = false;
    if (!ours) {
      saver.known.set(name, contentKey(data));
      const kind = painter.locked ? "unread" : model.get("marks")[index()] ? "done" : "none";
      state(saver.failed.size && !painter.locked ? "failed" : kind);
    }
    saver.heard();
    panel.tell(panel.problem, model.get("problem") || unsaved(), ...(painter.locked
      ? [panel.action("Read it again", "", () => saver.send({ kind: "reload" }))] : []));
    panel.tell(panel.note, model.get("note"));
    stage.show(bytesOf("rgb"), painter.map, guess);
    root.dataset.file = file;
    root.dataset.revision = model.get("revision");
    refresh();
    describe();
    if (back && !painter.locked) askBack(back);
  }

  // ---- pointer

  stage.drawUpper = (context) => {
    const at = cursor ?? (painter.stroke || hovered() ? pointer() : null);
    const { corners, brushing, locked, size } = painter;
    if (corners.length) stage.traceCorners(context, corners, at && pixel(at));
    if (!at || locked) return;
    if (brushing && !drag) stage.traceBrush(context, cursor ?? brushAt(at), brushOffsets(size));
    else if (cursor) stage.traceBrush(context, cursor, [[0, 0]]);
  };

  stage.moved = () => file && describe();

  function looked() {
    stage.hover();
    describe();
  }

  holder.addEventListener("pointerdown", (event) => {
    if (held !== null && held !== event.pointerId) return;
    holder.focus({ preventScroll: true });
    if (event.button > 1) return;
    event.preventDefault();
    painter.finish();
    held = event.pointerId;
    holder.setPointerCapture(held);
    hand = { clientX: event.clientX, clientY: event.clientY };
    cursor = null;
    if (event.button === 1 || painter.tool === "move" || spaceDown) {
      drag = { x: event.clientX, y: event.clientY };
    } else if (event.altKey) {
      if (hovered()) painter.choose(painter.at(hovered()));
    } else if (painter.brushing) {
      painter.strokeTo(brushAt(pointer()));
    } else if (hovered()) {
      painter.apply(hovered());
    }
    looked();
  });
  holder.addEventListener("pointermove", (event) => {
    if (held !== null && held !== event.pointerId) return;
    const moved = !hand || event.clientX !== hand.clientX || event.clientY !== hand.clientY;
    hand = { clientX: event.clientX, clientY: event.clientY };
    if (drag) {
      stage.pan(event.clientX - drag.x, event.clientY - drag.y);
      drag = { x: event.clientX, y: event.clientY };
    } else if (painter.stroke && !cursor) {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const one of all.length ? all : [event]) painter.strokeTo(brushAt(stage.locate(one)));
    }
    if (moved && !(painter.stroke && cursor)) cursor = null;
    looked();
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    holder.addEventListener(end, (event) => {
      if (event.pointerId !== held) return;
      held = null;
      drag = null;
      if (!cursor) painter.finish();
      looked();
    });
  }
  holder.addEventListener("pointerleave", (event) => {
    if (held !== null && held !== event.pointerId) return;
    hand = null;
    looked();
  });
  holder.addEventListener("dblclick", () => {
    if (painter.tool === "polygon" && painter.corners.length > 2) painter.closePolygon();
    looked();
  });
  // Only where the focus is: else the wheel scrolls the notebook.
  holder.addEventListener("wheel", (event) => {
    if (!root.contains(document.activeElement)) return;
    event.preventDefault();
    stage.wheel(event);
    describe();
  }, { passive: false });

  // ---- keys: those of fields and buttons stay theirs

  function moveCursor([dx, dy], painting) {
    const { width, height } = painter.map;
    const from = cursor ?? hovered() ?? middle();
    // The first arrow shows where the cursor is.
    const by = cursor || painting ? [dx, dy] : [0, 0];
    cursor = {
      x: Math.max(0, Math.min(width - 1, from.x + by[0])), y: Math.max(0, Math.min(height - 1, from.y + by[1])),
    };
    if (painting && painter.brushing) {
      if (!painter.stroke) painter.strokeTo(from);
      painter.strokeTo(cursor);
    }
    stage.reveal(cursor);
  }

  function onStage(event) {
    if (ARROWS[event.key]) {
      moveCursor(ARROWS[event.key], event.shiftKey);
    } else if (event.key === " " && hand && !cursor) {
      spaceDown = true; // to drag the picture with
    } else if (event.key === " ") {
      cursor ??= middle();
      if (!event.repeat) {
        painter.apply(cursor);
        painter.finish();
      }
    } else if (event.key === "Enter" && painter.corners.length) {
      painter.closePolygon();
    } else {
      return false;
    }
    return true;
  }

  const resize = (size) => { painter.size = Math.max(1, Math.min(Number(panel.brush.max), size)); };
  const commands = {
    "[": () => resize(painter.size - 1), "]": () => resize(painter.size + 1),
    "+": () => stage.zoomBy(1), "=": () => stage.zoomBy(1), "-": () => stage.zoomBy(-1), w: () => stage.fit(),
    ",": () => go(index() - 1), PageUp: () => go(index() - 1), ".": () => go(index() + 1), PageDown: () => go(index() + 1),
    n: goOn, t: () => guess && painter.replace(guess),
    s: () => {
      painter.finish();
      if (!painter.locked) saver.save(file, painter.map.data);
    },
    g: () => panel.ghost.click(), o: () => panel.outlines.click(),
    Delete: () => painter.replace(new Uint8Array(painter.map.data.length)),
    Escape: () => { painter.corners = []; }, Backspace: () => painter.corners.pop(),
  };
  for (const [name, , key] of TOOLS) commands[key] = () => painter.use(name);

  function command(event) {
    const { way, label, name } = keyMeaning(event);
    if (way) painter.step(way);
    else if (label < names.length) painter.choose(label);
    else if (Object.hasOwn(commands, name ?? "")) commands[name]();
    else return label !== undefined;
    return true;
  }

  root.addEventListener("keydown", (event) => {
    event.stopPropagation(); // nothing of this is for the notebook
    const { target, key } = event;
    const own = target.matches("select") || (target.matches("input[type=range]") && /^(Arrow|Page|Home|End)/.test(key));
    if (own && !event.ctrlKey && !event.metaKey) return;
    if (!(target === holder && onStage(event)) && !command(event)) return;
    event.preventDefault();
    looked();
  });
  root.addEventListener("keyup", (event) => {
    event.stopPropagation();
    if (event.key === " ") spaceDown = false;
    if (event.key === "Shift" && cursor) painter.finish();
    describe();
  });
  holder.addEventListener("blur", () => {
    spaceDown = false;
    if (held === null) painter.finish(); // under the hand it goes on: a dialog may take the focus in its midst
  });
  holder.addEventListener("focus", () => {
    if (holder.matches(":focus-visible") && !hand) moveCursor([0, 0], false);
    looked();
  });

  // ---- buttons and fields

  const does = (made, act) => made.addEventListener("click", () => {
    act();
    looked();
  });
  panel.tools.forEach((made) => does(made, () => painter.use(made.dataset.tool)));
  panel.radios.forEach((radio, i) => radio.addEventListener("change", () => {
    painter.choose(i);
    looked();
  }));
  for (const [made, name] of [
    [panel.previous, "PageUp"], [panel.next, "PageDown"], [panel.onwards, "n"], [panel.take, "t"], [panel.clear, "Delete"],
    [panel.keep, "s"], [panel.reduce, "-"], [panel.enlarge, "+"], [panel.whole, "w"],
  ]) does(made, commands[name]);
  for (const way of ["undo", "redo"]) does(panel[way], () => painter.step(way));
  panel.choice.addEventListener("change", () => go(Number(panel.choice.value)));
  panel.brush.addEventListener("input", () => {
    resize(Number(panel.brush.value));
    looked();
  });
  panel.views(stage);

  // ---- life

  const remark = () => panel.tell(panel.note, model.get("note"));
  const listeners = [["change:revision", show], ["change:marks", refresh], ["change:note", remark], ["msg:custom", receive]];
  for (const [event, react] of listeners) model.on(event, react);
  show();
  saver.ask({ kind: "keys", files: files.filter((name) => name === file || saver.kept.get(name)) });
  return () => {
    painter.finish();
    stage.end();
    clearTimeout(saver.timer);
    for (const [event, react] of listeners) model.off(event, react);
  };
}

export default { render };
