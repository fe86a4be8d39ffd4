// Draws RGB bytes from the kernel, one canvas a panel. Everything is in this file: nothing comes from a network.

const TARGET = 192; // CSS pixels: small pictures are enlarged by the whole number that comes closest from below

function panel(canvas, caption, model, index) {
  const [, height, width] = model.get("shape");
  const data = model.get("rgb"); // DataView of panels * height * width * 3 bytes
  const size = height * width * 3;
  if (data.byteLength < size * (index + 1)) return;
  const source = new Uint8Array(data.buffer, data.byteOffset + size * index, size);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
    const scale = Math.max(1, Math.floor(TARGET / width));
    canvas.style.width = `${width * scale}px`;
    canvas.style.aspectRatio = `${width} / ${height}`;
  }
  const image = new ImageData(width, height);
  const target = image.data;
  for (let from = 0, to = 0; from < size; from += 3, to += 4) {
    target[to] = source[from];
    target[to + 1] = source[from + 1];
    target[to + 2] = source[from + 2];
    target[to + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.setAttribute("aria-label", model.get("descriptions")[index] ?? "");
  caption.textContent = model.get("captions")[index] ?? "";
}

function render({ model, el }) {
  const row = document.createElement("div");
  row.className = "lis-picture";
  el.appendChild(row);
  let panels = [];

  function draw() {
    const count = model.get("shape")[0];
    if (panels.length !== count) {
      row.replaceChildren();
      panels = Array.from({ length: count }, () => {
        const figure = document.createElement("figure");
        const canvas = document.createElement("canvas");
        const caption = document.createElement("figcaption");
        canvas.setAttribute("role", "img");
        figure.append(canvas, caption);
        row.appendChild(figure);
        return { canvas, caption };
      });
    }
    panels.forEach(({ canvas, caption }, index) => panel(canvas, caption, model, index));
    row.classList.toggle("lis-stale", model.get("stale"));
    row.dataset.revision = model.get("revision");
  }

  // The kernel raises `revision` last and in the same message: one redraw for everything that changed together.
  model.on("change:revision", draw);
  draw();
  return () => model.off("change:revision", draw);
}

export default { render };
