// Draws the figures that the kernel describes, with Plotly. Every change carries whole figures, so that a view which
// is drawn late, or again, is never behind.
//
// Plotly (5 MB) is not part of this module: anywidget gives a widget two seconds to load, after which it stays empty
// for ever, and a busy machine needs longer. It is asked of the kernel once a page, and nothing comes from a network.

const CONFIG = { displayModeBar: false, responsive: false };
const KEY = Symbol.for("lis_widgets.plotly");
const PATIENCE = 5000; // ms that another figure's request is waited for, before a figure asks for itself

const shared = (globalThis[KEY] ??= { plotly: null, asked: -Infinity }); // one for all figures of a page

// Several figures that appear together load it once: running its 5 MB takes the page's only thread for a second on a
// slow machine, and every other widget's two seconds go on meanwhile.
async function loadPlotly(model, wanted) {
  const receive = (message, buffers) => {
    if (message?.kind === "plotly") shared.plotly ??= run(buffers[0]);
  };
  model.on("msg:custom", receive);
  let asked = false;
  while (!shared.plotly && wanted()) {
    if (!asked && performance.now() - shared.asked > PATIENCE) {
      shared.asked = performance.now();
      asked = true;
      model.send({ kind: "plotly" });
    }
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  model.off("msg:custom", receive);
  return shared.plotly;
}

async function run(code) {
  const parts = ["const module = { exports: {} };\n", code, "\nexport default module.exports;\n"];
  const url = URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));
  try {
    return (await import(url)).default;
  } finally {
    URL.revokeObjectURL(url);
  }
}

// When the page has nothing better to do, such as drawing the next picture; but not later than a fifth of a second.
const whenIdle = globalThis.requestIdleCallback
  ? (work) => requestIdleCallback(work, { timeout: 200 })
  : (work) => setTimeout(work, 20);

function render({ model, el }) {
  keepKeys();
  const row = document.createElement("div");
  row.className = "lis-charts";
  el.appendChild(row);
  let Plotly = null;
  let boxes = [];
  let alive = true;
  let drawing = false;
  let todo = []; // indices of figures that are not drawn yet; one is drawn at a time, so that input gets in between
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) if (target.data && target.clientWidth) Plotly.Plots.resize(target);
  });

  function build(count) {
    boxes.forEach(({ plot }) => Plotly.purge(plot));
    row.replaceChildren();
    boxes = Array.from({ length: count }, (_, index) => {
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      const plot = document.createElement("div");
      figure.append(caption, plot);
      row.appendChild(figure);
      observer.observe(plot);
      return { figure, caption, plot, index };
    });
  }

  function drawOne({ caption, plot, index }, { data, layout, text, caption: title, description }) {
    caption.textContent = title ?? "";
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", description);
    if (text !== undefined) {
      if (plot.data) Plotly.purge(plot);
      plot.className = "lis-charts-text";
      plot.textContent = text;
      return;
    }
    if (!plot.data) {
      plot.textContent = "";
      plot.className = "";
    }
    const fresh = !plot.data;
    Plotly.react(plot, data, layout, CONFIG);
    if (fresh) {
      plot.on("plotly_click", ({ points }) => {
        const { y, customdata } = points[0] ?? {};
        const label = typeof y === "string" ? y : customdata; // a bar's name, or what a point says it is
        if (typeof label === "string") model.send({ kind: "pick", figure: index, label });
      });
    }
  }

  function step() {
    drawing = false;
    if (!alive || !todo.length) return;
    const index = todo.shift();
    const figure = model.get("figures")[index];
    if (figure && boxes[index]) drawOne(boxes[index], figure);
    schedule();
  }

  function schedule() {
    if (drawing || !todo.length) return;
    drawing = true;
    whenIdle(step);
  }

  function draw() {
    if (!Plotly) return;
    const count = model.get("figures").length;
    if (boxes.length !== count) build(count);
    // Those that still wait come first, so that none starves while something is moved.
    todo = [...new Set([...todo.filter((index) => index < count), ...boxes.keys()])];
    schedule();
  }

  model.on("change:figures", draw);
  loadPlotly(model, () => alive).then(
    (loaded) => {
      Plotly = loaded;
      if (alive) draw();
    },
    (error) => {
      row.setAttribute("role", "alert");
      row.textContent = `The plots could not be loaded: ${error}`;
      console.error(error);
    },
  );
  return () => {
    alive = false;
    model.off("change:figures", draw);
    observer.disconnect();
    if (Plotly) boxes.forEach(({ plot }) => Plotly.purge(plot));
  };
}

export default { render };
