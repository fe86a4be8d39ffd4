// A table of plain cells. The kernel sends all rows once; sorting, finding and paging happen here.

const DASH = "–";

function number(value, digits = 2) {
  if (Math.abs(value) > 0 && Math.abs(value) < 0.5 * 10 ** -digits) return value.toPrecision(2).replace("-", "−");
  return value.toFixed(digits).replace("-", "−");
}

function text(cell, kind) {
  if (cell === null || cell === undefined) return DASH;
  const share = kind.startsWith("share");
  const one = (value) => (share ? `${(100 * value).toFixed(value > 0 && value < 0.0995 ? 1 : 0)}%` : number(value));
  if (kind.endsWith("interval")) return `${one(cell[0])} to ${one(cell[1])}`;
  if (kind === "text" || kind === "count") return String(cell);
  return one(cell);
}

// What is measured comes before what is not, whichever way it is sorted.
function compare(a, b, way) {
  const [left, right] = [a, b].map((cell) => (Array.isArray(cell) ? cell[0] : cell));
  if (left === null || right === null) return (left === null) - (right === null);
  if (typeof left === "string") return way * left.localeCompare(right, undefined, { numeric: true });
  return way * (left - right);
}

function render({ model, el }) {
  keepKeys();
  const columns = model.get("columns");
  const rows = model.get("rows");
  const choosable = model.get("choosable");
  const root = document.createElement("div");
  root.className = "lis-table";

  let sorted = { column: -1, way: 1 };
  let shown = model.get("page");
  let pattern = "";
  let active = 0; // place in the page of the row that the Tab key reaches

  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = `find in ${rows.length.toLocaleString("en")} rows`;
  search.setAttribute("aria-label", `find rows of ${model.get("label")}`);
  search.addEventListener("input", () => {
    pattern = search.value.trim().toLowerCase();
    shown = model.get("page");
    draw();
  });
  if (rows.length > 20) root.appendChild(search);

  const holder = document.createElement("div");
  holder.className = "lis-table-rows";
  const table = document.createElement("table");
  table.setAttribute("aria-label", model.get("label"));
  const head = document.createElement("tr");
  const heads = columns.map(({ title, kind, tip }, index) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.className = kind === "text" ? "" : "lis-numeric";
    const button = document.createElement("button");
    button.type = "button";
    button.title = tip ? `${tip} (click sorts)` : "click sorts";
    const name = document.createElement("span");
    name.textContent = title;
    const arrow = document.createElement("span");
    arrow.className = "lis-arrow";
    arrow.setAttribute("aria-hidden", "true");
    button.append(name, arrow);
    button.addEventListener("click", () => {
      // Numbers from the highest first, names from the first letter: what one looks for.
      const first = kind === "text" ? 1 : -1;
      sorted = { column: index, way: sorted.column === index ? -sorted.way : first };
      active = 0;
      draw();
    });
    cell.appendChild(button);
    head.appendChild(cell);
    return { cell, arrow };
  });
  const top = document.createElement("thead");
  top.appendChild(head);
  const body = document.createElement("tbody");
  table.append(top, body);
  holder.appendChild(table);
  const foot = document.createElement("div");
  foot.className = "lis-table-more";
  const count = document.createElement("span");
  const more = document.createElement("button");
  more.type = "button";
  more.addEventListener("click", () => {
    shown += 4 * model.get("page");
    draw();
  });
  foot.append(count, more);
  const narrow = document.createElement("div");
  narrow.className = "lis-table-narrow";
  root.append(holder, foot, narrow);
  el.appendChild(root);

  function order() {
    let places = rows.map((_, index) => index);
    if (pattern) {
      const has = (cell, index) => text(cell, columns[index].kind).toLowerCase();
      // A number finds the first column alone, from its beginning: "17" is meant to be a unit, not a share of 17 %.
      const digits = /^\d+$/.test(pattern);
      places = places.filter((place) =>
        digits
          ? has(rows[place][0], 0).startsWith(pattern)
          : rows[place].some((cell, index) => columns[index].kind === "text" && has(cell, index).includes(pattern)),
      );
    }
    const { column, way } = sorted;
    if (column >= 0) places.sort((a, b) => compare(rows[a][column], rows[b][column], way) || a - b);
    return places;
  }

  function line(place) {
    const row = document.createElement("tr");
    row.dataset.row = place;
    rows[place].forEach((cell, index) => {
      const box = document.createElement("td");
      box.className = columns[index].kind === "text" ? "" : "lis-numeric";
      const said = text(cell, columns[index].kind);
      if (index === 0 && choosable) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "lis-choose";
        button.tabIndex = -1;
        button.textContent = said;
        button.setAttribute("aria-label", `open ${columns[0].title} ${said}`);
        box.appendChild(button);
      } else {
        box.textContent = said;
      }
      row.appendChild(box);
    });
    return row;
  }

  function mark() {
    const chosen = model.get("chosen");
    [...body.children].forEach((row, index) => {
      row.classList.toggle("lis-chosen", Number(row.dataset.row) === chosen);
      if (choosable) row.querySelector(".lis-choose").tabIndex = index === active ? 0 : -1;
    });
  }

  function draw() {
    const places = order();
    active = Math.min(active, Math.max(0, places.length - 1));
    body.replaceChildren(...places.slice(0, shown).map(line));
    heads.forEach(({ cell, arrow }, index) => {
      const way = index === sorted.column ? sorted.way : 0;
      cell.setAttribute("aria-sort", way ? (way > 0 ? "ascending" : "descending") : "none");
      arrow.textContent = way ? (way > 0 ? "▲" : "▼") : "";
    });
    const hidden = places.length - Math.min(shown, places.length);
    foot.hidden = hidden === 0 && places.length > 0;
    count.textContent = places.length ? `${hidden.toLocaleString("en")} more` : rows.length ? "No row is found." : "None.";
    more.hidden = hidden === 0;
    more.textContent = `show ${Math.min(hidden, 4 * model.get("page")).toLocaleString("en")} of them`;
    mark();
    fit();
  }

  // Columns for which there is no room are left out and named below: intervals first, then from the right.
  function fit() {
    const lines = [head, ...body.children];
    const hide = (index, hidden) => lines.forEach((line) => (line.children[index].hidden = hidden));
    columns.forEach((_, index) => hide(index, false));
    const later = columns.map((_, index) => index).slice(1).reverse();
    const order = [
      ...later.filter((index) => columns[index].kind.endsWith("interval")),
      ...later.filter((index) => !columns[index].kind.endsWith("interval")),
    ];
    const left = [];
    while (holder.clientWidth && table.offsetWidth > holder.clientWidth && order.length) {
      left.push(order[0]);
      hide(order.shift(), true);
    }
    const names = left.sort((a, b) => a - b).map((index) => columns[index].title);
    narrow.textContent = names.length ? `Left out, for lack of room: ${names.join(", ")}.` : "";
  }

  function choose(row) {
    active = [...body.children].indexOf(row);
    mark();
    model.send({ kind: "choose", row: Number(row.dataset.row) });
  }

  if (choosable) {
    table.classList.add("lis-choosable");
    body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) choose(row);
    });
    body.addEventListener("keydown", (event) => {
      const steps = { ArrowDown: 1, ArrowUp: -1 };
      const last = body.children.length - 1;
      if (event.key in steps) active = Math.min(Math.max(active + steps[event.key], 0), last);
      else if (event.key === "Home") active = 0;
      else if (event.key === "End") active = last;
      else return;
      event.preventDefault();
      event.stopPropagation();
      mark();
      body.children[active]?.querySelector(".lis-choose").focus();
    });
  }

  model.on("change:chosen", mark);
  draw();
  let wide = 0; // a change of height alone asks for nothing
  const observer = new ResizeObserver(() => {
    if (holder.clientWidth === wide) return;
    wide = holder.clientWidth;
    fit();
  });
  observer.observe(holder);
  return () => {
    observer.disconnect();
    model.off("change:chosen", mark);
  };
}

export default { render };
