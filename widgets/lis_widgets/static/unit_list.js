// A search box over a listbox of units. The kernel holds all rows and sends those found; a sparkline is one SVG path.

const WIDE = 56;
const HIGH = 18;

// One path of bars: from the bottom for a histogram (0..1), from the middle for effects (-1..1).
function bars(values, kind, only) {
  const step = WIDE / Math.max(values.length, 1);
  const width = Math.max(0.6, Math.min(step * 0.86, 7));
  const base = kind === "effects" ? HIGH / 2 : HIGH;
  const room = kind === "effects" ? HIGH / 2 : HIGH;
  let path = "";
  values.forEach((value, index) => {
    if (only !== undefined && index !== only) return;
    if (!Number.isFinite(value) || value === 0) return;
    const size = Math.sign(value) * Math.max(0.8, Math.abs(value) * room);
    const left = (index + 0.5) * step - width / 2;
    path += `M${left.toFixed(1)} ${base}v${(-size).toFixed(1)}h${width.toFixed(1)}V${base}z`;
  });
  return path;
}

function sparkline({ spark, mark, kind }) {
  const holder = document.createElement("template");
  const line = kind === "effects" ? HIGH / 2 : HIGH - 0.5;
  // Through the parser: it knows the namespace of SVG by itself. Nothing in it comes from outside.
  holder.innerHTML =
    `<svg class="lis-spark" viewBox="0 0 ${WIDE} ${HIGH}" width="${WIDE}" height="${HIGH}" aria-hidden="true">` +
    `<path class="lis-spark-line" d="M0 ${line}H${WIDE}"></path><path class="lis-spark-bars"></path>` +
    `<path class="lis-spark-mark"></path></svg>`;
  const svg = holder.content.firstChild;
  if (!spark.length) return svg;
  // Effects fill their own row: what counts is whether one part stands out; how much it is stands beside it.
  const most = kind === "effects" ? Math.max(...spark.map(Math.abs)) || 1 : 1;
  const values = spark.map((value) => value / most);
  svg.children[1].setAttribute("d", bars(values, kind));
  if (mark !== null) svg.children[2].setAttribute("d", bars(values, kind, mark));
  return svg;
}

function render({ model, el }) {
  keepKeys();
  const id = `lis-${Math.random().toString(36).slice(2)}`; // every widget has a module of its own: no count is of the page
  const root = document.createElement("div");
  root.className = "lis-units";
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = "search units";
  search.setAttribute("aria-label", "search units by number or text");
  search.setAttribute("aria-controls", id);
  const title = document.createElement("div");
  title.className = "lis-units-title";
  title.id = `${id}-title`;
  const list = document.createElement("div");
  list.id = id;
  list.className = "lis-units-rows";
  list.tabIndex = 0;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-labelledby", title.id);
  list.setAttribute("aria-description", "Arrow keys move, Enter chooses a unit, P pins it.");
  const more = document.createElement("div");
  more.className = "lis-units-more";
  root.append(search, title, list, more);
  el.appendChild(root);

  let active = 0; // index into the rows shown
  let rows = [];

  function row(entry) {
    const line = document.createElement("div");
    line.id = `${id}-${entry.unit}`;
    line.dataset.unit = entry.unit;
    line.setAttribute("role", "option");
    const pin = document.createElement("span");
    pin.className = "lis-units-pin";
    pin.setAttribute("aria-hidden", "true"); // the key P does the same
    pin.title = "keep a slider for this unit (P)";
    const name = document.createElement("span");
    name.className = "lis-units-name";
    name.textContent = entry.text;
    const detail = document.createElement("span");
    detail.className = "lis-units-detail";
    detail.textContent = entry.detail;
    line.title = `${entry.text}: ${entry.detail}`;
    line.append(pin, name, sparkline(entry), detail);
    return line;
  }

  function draw() {
    const found = model.get("shown");
    rows = found.map(row);
    list.replaceChildren(...rows);
    const chosen = found.findIndex((entry) => entry.unit === model.get("selected"));
    active = Math.max(0, chosen);
    const hidden = model.get("more");
    more.textContent = !found.length ? "No unit is found." : hidden ? `${hidden} more: search for them` : "";
    head();
    mark();
    reveal();
  }

  function head() {
    title.textContent = model.get("title");
  }

  function mark() {
    const pinned = new Set(model.get("pinned"));
    const selected = model.get("selected");
    rows.forEach((line, index) => {
      const unit = Number(line.dataset.unit);
      line.setAttribute("aria-selected", unit === selected);
      line.classList.toggle("lis-active", index === active);
      line.classList.toggle("lis-pinned", pinned.has(unit));
      line.firstChild.textContent = pinned.has(unit) ? "●" : "○";
      const name = line.children[1].textContent;
      line.setAttribute("aria-label", `${line.title}${pinned.has(unit) ? ", pinned" : ""}` || name);
    });
    if (rows.length) list.setAttribute("aria-activedescendant", rows[active].id);
    else list.removeAttribute("aria-activedescendant");
  }

  // Scrolls the list alone: scrollIntoView would move the notebook as well.
  function reveal() {
    const line = rows[active];
    if (!line) return;
    const top = line.offsetTop - list.offsetTop;
    if (top < list.scrollTop) list.scrollTop = top;
    const bottom = top + line.offsetHeight;
    if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
  }

  function move(to) {
    if (!rows.length) return;
    active = Math.min(Math.max(to, 0), rows.length - 1);
    mark();
    reveal();
  }

  const tell = (kind, index) => {
    if (rows[index]) model.send({ kind, unit: Number(rows[index].dataset.unit) });
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(list.clientHeight / (rows[0]?.offsetHeight || 24)) - 1);
    const jumps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    if (event.key in jumps) move(active + jumps[event.key]);
    else if (event.key === "Home") move(0);
    else if (event.key === "End") move(rows.length - 1);
    else if (event.key === "Enter" || event.key === " ") tell("choose", active);
    else if (event.key.toLowerCase() === "p") tell("pin", active);
    else return;
    event.preventDefault();
  }

  function onClick(event) {
    const line = event.target.closest("[role=option]");
    if (!line) return;
    active = rows.indexOf(line);
    tell(event.target.classList.contains("lis-units-pin") ? "pin" : "choose", active);
    mark();
  }

  let waiting = null; // a pause in typing is one search
  function onSearch() {
    clearTimeout(waiting);
    waiting = setTimeout(() => model.send({ kind: "search", text: search.value }), 120);
  }

  function onSearchKey(event) {
    if (event.key === "ArrowDown") {
      list.focus();
      event.preventDefault();
    } else if (event.key === "Enter") {
      clearTimeout(waiting);
      model.send({ kind: "search", text: search.value, choose: true });
    }
  }

  function onSelected() {
    const index = rows.findIndex((line) => Number(line.dataset.unit) === model.get("selected"));
    if (index >= 0) active = index;
    mark();
    reveal();
  }

  list.addEventListener("keydown", onKey);
  list.addEventListener("click", onClick);
  search.addEventListener("input", onSearch);
  search.addEventListener("keydown", onSearchKey);
  model.on("change:shown change:more", draw);
  model.on("change:title", head);
  model.on("change:pinned", mark);
  model.on("change:selected", onSelected);
  draw();
  return () => {
    clearTimeout(waiting);
    model.off("change:shown change:more", draw);
    model.off("change:title", head);
    model.off("change:pinned", mark);
    model.off("change:selected", onSelected);
  };
}

export default { render };
