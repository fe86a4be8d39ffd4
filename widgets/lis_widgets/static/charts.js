// Draws the figures that the kernel describes, with the Plotly that stands before this text (see charts.py).
// Every change carries whole figures, so that a view which is drawn late, or again, is never behind.

const CONFIG = { displayModeBar: false, responsive: false };

function render({ model, el }) {
  const row = document.createElement("div");
  row.className = "lis-charts";
  el.appendChild(row);
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) if (target.data && target.clientWidth) Plotly.Plots.resize(target);
  });
  let boxes = [];

  function draw() {
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
  draw();
  return () => {
    model.off("change:figures", draw);
    observer.disconnect();
    boxes.forEach((box) => Plotly.purge(box));
  };
}

export default { render };
