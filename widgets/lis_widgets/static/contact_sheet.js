// A grid of pictures, one canvas each, drawn once from one message. One of them has the focus (a roving tabindex).

const SMALL = 96; // CSS pixels: small pictures are enlarged by the whole number that comes closest from below
const LARGE = 128; // large ones are reduced to this
const GAP = 10;
const NARROW = 640;

function paint(canvas, data, width, height, place) {
  const size = width * height * 3;
  if (data.byteLength < size * (place + 1)) return;
  const source = new Uint8Array(data.buffer, data.byteOffset + size * place, size);
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let from = 0, to = 0; from < size; from += 3, to += 4) {
    image.data[to] = source[from];
    image.data[to + 1] = source[from + 1];
    image.data[to + 2] = source[from + 2];
    image.data[to + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function render({ model, el }) {
  keepKeys();
  const rows = model.get("rows");
  const [, height, width] = model.get("shape");
  const data = model.get("rgb");
  const root = element("div", "lis-grid");
  root.setAttribute("role", "grid");
  root.setAttribute("aria-label", model.get("label"));
  root.setAttribute("aria-description", "Arrow keys move between pictures, Enter opens one.");
  const cells = rows.map(({ title, notes, cells }, row) => {
    const line = element("div", "lis-grid-row");
    line.setAttribute("role", "row");
    const head = element("div", "lis-grid-head");
    head.setAttribute("role", "rowheader");
    head.appendChild(element("strong", "", title));
    for (const note of notes) head.appendChild(element("div", "lis-muted", note));
    const pictures = element("div", "lis-grid-pictures");
    pictures.setAttribute("role", "presentation");
    line.append(head, pictures);
    root.appendChild(line);
    return cells.map(({ place, above, below, description, start, changed }, column) => {
      const cell = element("div", "lis-grid-cell");
      cell.setAttribute("role", "gridcell");
      cell.setAttribute("aria-label", description);
      cell.tabIndex = -1;
      cell.dataset.row = row;
      cell.dataset.column = column;
      const canvas = element("canvas", start ? "lis-start" : "");
      canvas.setAttribute("aria-hidden", "true"); // the cell says what it is
      paint(canvas, data, width, height, place);
      const seen = element("div", changed ? "lis-changed" : "", below);
      const top = element("div", "lis-muted");
      for (const part of above.split(", ")) top.appendChild(element("div", "", part));
      cell.append(top, canvas, seen);
      pictures.appendChild(cell);
      return cell;
    });
  });
  el.appendChild(root);

  let focus = [0, 0];
  function move([row, column], take) {
    const to = Math.min(Math.max(row, 0), cells.length - 1);
    const at = Math.min(Math.max(column, 0), cells[to].length - 1);
    cells[focus[0]][focus[1]].tabIndex = -1;
    focus = [to, at];
    cells[to][at].tabIndex = 0;
    if (take) cells[to][at].focus();
  }

  function pick() {
    model.send({ kind: "pick", row: focus[0], column: focus[1] });
  }

  root.addEventListener("keydown", (event) => {
    if (event.altKey || event.metaKey) return;
    const [row, column] = focus;
    const last = cells[row].length - 1;
    const places = {
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      Home: [event.ctrlKey ? 0 : row, 0],
      End: event.ctrlKey ? [cells.length - 1, Infinity] : [row, last],
    };
    if (event.key in places) move(places[event.key], true);
    else if (event.key === "Enter" || event.key === " ") pick();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  root.addEventListener("click", (event) => {
    const cell = event.target.closest(".lis-grid-cell");
    if (!cell) return;
    move([Number(cell.dataset.row), Number(cell.dataset.column)], true);
    pick();
  });

  function mark() {
    const [row, column] = model.get("picked");
    cells.flat().forEach((cell) => {
      const own = Number(cell.dataset.row) === row && Number(cell.dataset.column) === column;
      cell.classList.toggle("lis-picked", own);
      cell.setAttribute("aria-selected", own);
    });
  }

  // Small pictures by whole numbers, so that pixels stay equal squares; at least 20 px wide when there is little room.
  function fit() {
    if (!root.clientWidth || !cells.length) return;
    const narrow = root.clientWidth < NARROW;
    root.classList.toggle("lis-narrow", narrow);
    const count = Math.max(...cells.map((line) => line.length));
    const room = Math.floor((root.clientWidth - (narrow ? 0 : 170)) / count) - GAP;
    const small = width <= SMALL;
    // In a narrow window pictures keep a size at which they can be seen, and go on in the next line.
    const wanted = Math.max(narrow ? 64 : 20, Math.min(room, small ? SMALL : LARGE));
    const shown = small && wanted >= width ? width * Math.floor(wanted / width) : wanted;
    root.style.setProperty("--lis-cell", `${shown}px`);
    root.style.setProperty("--lis-cell-box", `${Math.max(shown, narrow ? 76 : Math.min(room, 104))}px`);
    root.classList.toggle("lis-smooth", shown < width);
  }

  function receive(message) {
    if (message?.kind !== "reveal") return;
    // A view that is not in the page (far away in a long notebook) cannot be scrolled to.
    document.getElementsByClassName(message.where)[0]?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  if (cells.length) move([0, 0], false);
  mark();
  model.on("change:picked", mark);
  model.on("msg:custom", receive);
  const observer = new ResizeObserver(fit);
  observer.observe(root);
  fit();
  return () => {
    observer.disconnect();
    model.off("change:picked", mark);
    model.off("msg:custom", receive);
  };
}

export default { render };
