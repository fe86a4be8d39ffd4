// Draws RGB bytes from the kernel, one canvas a panel. Everything is in this file: nothing comes from a network.

const TARGET = 192; // CSS pixels: small pictures are enlarged by the whole number that comes closest from below
const GAP = 16;

// The largest whole number up to the target with which all panels still fit side by side.
function enlargement(available, panels, width) {
  const room = available > 0 ? Math.floor((available - GAP * (panels - 1)) / panels) : TARGET;
  return Math.max(1, Math.floor(Math.min(room, TARGET) / width));
}

function panel(canvas, caption, model, index) {
  const [, height, width] = model.get("shape");
  const data = model.get("rgb"); // DataView of panels * height * width * 3 bytes
  const size = height * width * 3;
  if (data.byteLength < size * (index + 1)) return;
  const source = new Uint8Array(data.buffer, data.byteOffset + size * index, size);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
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

  function fit() {
    const [count, height, width] = model.get("shape");
    if (!count) return;
    const scale = enlargement(row.clientWidth - 4, count, width);
    for (const { canvas } of panels) {
      canvas.style.width = `${width * scale}px`;
      canvas.style.aspectRatio = `${width} / ${height}`;
    }
  }

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
    fit();
    row.classList.toggle("lis-stale", model.get("stale"));
    row.dataset.revision = model.get("revision");
  }

  // The kernel raises `revision` last and in the same message: one redraw for everything that changed together.
  model.on("change:revision", draw);
  draw();
  const observer = new ResizeObserver(fit);
  observer.observe(row);
  return () => {
    observer.disconnect();
    model.off("change:revision", draw);
  };
}

export default { render };
