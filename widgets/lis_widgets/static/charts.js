// Draws the figures that the kernel describes, with Plotly. Every change carries whole figures, so that a view which
// is drawn late, or again, is never behind.
//
// Plotly (5 MB) is not part of this module: anywidget gives a widget two seconds to load, after which it stays empty
// for ever, and a busy machine needs longer. It is asked of the kernel once a page, and nothing comes from a network.

const CONFIG = { displayModeBar: false, responsive: false };
const KEY = Symbol.for("lis_widgets.plotly");

function load(model) {
  if (globalThis[KEY]) return Promise.resolve(globalThis[KEY]);
  return new Promise((resolve, reject) => {
    async function receive(message, buffers) {
      if (message?.kind !== "plotly") return;
      model.off("msg:custom", receive);
      try {
        const parts = ["const module = { exports: {} };\n", buffers[0], "\nexport default module.exports;\n"];
        const url = URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));
        globalThis[KEY] ??= (await import(url)).default;
        URL.revokeObjectURL(url);
        resolve(globalThis[KEY]);
      } catch (error) {
        reject(error);
      }
    }
    model.on("msg:custom", receive);
    model.send({ kind: "plotly" });
  });
}

function render({ model, el }) {
  const row = document.createElement("div");
  row.className = "lis-charts";
  el.appendChild(row);
  let Plotly = null;
  let boxes = [];
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) if (target.data && target.clientWidth) Plotly.Plots.resize(target);
  });

  function draw() {
    if (!Plotly) return;
    const figures = model.get("figures");
    if (boxes.length !== figures.length) {
      boxes.forEach((box) => Plotly.purge(box));
      row.replaceChildren();
      boxes = figures.map(() => {
        const box = document.createElement("div");
        box.setAttribute("role", "img");
        row.appendChild(box);
        observer.observe(box);
        return box;
      });
    }
    figures.forEach(({ data, layout, description }, index) => {
      boxes[index].setAttribute("aria-label", description);
      Plotly.react(boxes[index], data, layout, CONFIG);
    });
  }

  model.on("change:figures", draw);
  load(model).then(
    (loaded) => {
      Plotly = loaded;
      draw();
    },
    (error) => {
      row.setAttribute("role", "alert");
      row.textContent = `The plots could not be loaded: ${error}`;
      console.error(error);
    },
  );
  return () => {
    model.off("change:figures", draw);
    observer.disconnect();
    boxes.forEach((box) => Plotly.purge(box));
  };
}

export default { render };
