// Draws pictures from the kernel, one canvas a panel. After kit.js.

const GAP = 16;

// CSS width of a panel. A picture that fits is enlarged by a whole number of device pixels a pixel, so that all its
// pixels are equal and crisp at any zoom; a larger one is scaled down to the target.
function panelWidth(width, target, room) {
  const wanted = Math.max(1, Math.min(target, room));
  const ratio = globalThis.devicePixelRatio || 1;
  if (width > wanted * ratio) return { css: wanted, crisp: false };
  return { css: (width * Math.max(1, Math.floor((wanted * ratio) / width))) / ratio, crisp: true };
}

function render({ model, el }) {
  keepKeys();
  const row = element("div", { class: "lis-picture" });
  el.appendChild(row);
  let panels = [];
  let image = null; // reused while the size stays: no garbage a frame
  let drawn = 0; // revision that is on the canvases
  let available = 0;
  let wide = 0; // CSS pixels of a panel
  let reserved = 0; // CSS pixels that a caption needed so far, at this width

  function build(count) {
    panels = Array.from({ length: count }, (_, index) => {
      const canvas = element("canvas");
      const caption = element("figcaption");
      const figure = element("figure", {}, canvas, caption);
      figure.addEventListener("click", () => pick(index));
      figure.addEventListener("keydown", (event) => {
        if (event.target !== figure || (event.key !== "Enter" && event.key !== " ")) return;
        event.preventDefault();
        pick(index);
      });
      return { figure, canvas, caption, context: canvas.getContext("2d") };
    });
    row.replaceChildren(...panels.map(({ figure }) => figure));
  }

  function pick(index) {
    if (!model.get("pickable")) return;
    try {
      model.send({ kind: "pick", index });
    } catch (error) {
      console.warn("the kernel does not answer", error);
    }
  }

  // A choice is a button with the description as its name; what only shows is an image.
  function label() {
    const descriptions = model.get("descriptions");
    const pickable = model.get("pickable");
    const picked = model.get("picked");
    panels.forEach(({ figure, canvas }, index) => {
      const text = descriptions[index] ?? "";
      const [named, other] = pickable ? [figure, canvas] : [canvas, figure];
      named.setAttribute("role", pickable ? "button" : "img");
      if (named.getAttribute("aria-label") !== text) named.setAttribute("aria-label", text);
      if (pickable) {
        figure.tabIndex = 0;
        canvas.setAttribute("role", "presentation");
        figure.setAttribute("aria-pressed", String(index === picked));
      } else {
        figure.removeAttribute("role");
        figure.removeAttribute("tabindex");
        figure.removeAttribute("aria-pressed");
      }
      other.removeAttribute("aria-label");
      figure.classList.toggle("lis-picked", index === picked);
    });
  }

  function fit() {
    const [count, , width] = model.get("shape");
    if (!count) return;
    let columns = Math.min(model.get("columns") || count, count);
    const target = model.get("target");
    // Few panels stay side by side in a narrow page; many wrap, and four that would get tiny.
    if (count === 4 && columns === 4 && available > 0 && available < 2 * target) columns = 2;
    const room = columns <= 4 && available > 0 ? (available - GAP * (columns - 1)) / columns : available || target;
    const { css, crisp } = panelWidth(width, target, room);
    row.classList.toggle("lis-crisp", crisp);
    for (const { figure, canvas } of panels) {
      figure.style.width = canvas.style.width = `${css}px`;
    }
    if (css !== wide) {
      [wide, reserved] = [css, 0];
      row.style.removeProperty("--caption");
    }
    row.style.maxWidth = model.get("columns") ? `${columns * css + GAP * (columns - 1) + 8}px` : "";
  }

  // A caption that gets shorter keeps its room: what is below must not jump while a slider is dragged.
  function reserve() {
    const high = Math.max(...panels.map(({ caption }) => caption.getBoundingClientRect().height));
    if (high <= reserved) return;
    reserved = high;
    row.style.setProperty("--caption", `${reserved}px`);
  }

  function putRaw(height, width) {
    const data = model.get("rgb"); // DataView of panels * height * width * 3 bytes
    const size = height * width * 3;
    if (data.byteLength < size * panels.length) return;
    const source = new Uint8Array(data.buffer, data.byteOffset, size * panels.length);
    if (image?.width !== width || image?.height !== height) image = new ImageData(width, height);
    const target = image.data;
    let from = 0;
    for (const { context } of panels) {
      for (let to = 0; to < target.length; to += 4) {
        target[to] = source[from++];
        target[to + 1] = source[from++];
        target[to + 2] = source[from++];
        target[to + 3] = 255;
      }
      context.putImageData(image, 0, 0);
    }
  }

  function finish(revision) {
    drawn = revision;
    row.dataset.revision = revision;
  }

  // Decoding takes its time, and a later picture may be ready first: an older one is then not drawn any more.
  async function putJpeg(files, revision) {
    const bitmaps = await Promise.all(files.map((file) => createImageBitmap(new Blob([file], { type: "image/jpeg" }))));
    if (revision > drawn && bitmaps.length === panels.length) {
      bitmaps.forEach((bitmap, index) => panels[index].context.drawImage(bitmap, 0, 0));
      words();
      finish(revision);
    }
    bitmaps.forEach((bitmap) => bitmap.close());
  }

  function words() {
    const captions = model.get("captions");
    let changed = false;
    panels.forEach(({ caption }, index) => {
      const text = captions[index] ?? "";
      if (caption.textContent === text) return;
      caption.textContent = text;
      changed = true;
    });
    if (changed) reserve();
    label();
    row.classList.toggle("lis-stale", model.get("stale"));
  }

  function draw() {
    const [count, height, width] = model.get("shape");
    const revision = model.get("revision");
    let resized = panels.length !== count;
    if (resized) build(count);
    for (const { canvas } of panels) {
      if (canvas.width === width && canvas.height === height) continue;
      canvas.width = width;
      canvas.height = height;
      canvas.style.aspectRatio = `${width} / ${height}`;
      resized = true;
    }
    if (resized) fit();
    const files = model.get("jpeg");
    if (files.length) {
      putJpeg(files, revision).catch((error) => console.error(error));
    } else {
      if (count) putRaw(height, width);
      words();
      finish(revision);
    }
  }

  // The kernel raises `revision` last and in the same message: one redraw for everything that changed together.
  // Drawn in the handler itself: waiting for a frame would add its time to the latency.
  model.on("change:revision", draw);
  const others = { "change:pickable": label, "change:picked": label, "change:target": fit, "change:columns": fit };
  for (const [name, react] of Object.entries(others)) model.on(name, react);
  const observer = new ResizeObserver(() => {
    available = Math.max(0, el.clientWidth - 4);
    fit();
  });
  draw();
  observer.observe(el);
  // Zooming the page changes the ratio of device to CSS pixels, not always the row's width.
  globalThis.addEventListener("resize", fit);
  return () => {
    observer.disconnect();
    globalThis.removeEventListener("resize", fit);
    model.off("change:revision", draw);
    for (const [name, react] of Object.entries(others)) model.off(name, react);
  };
}

export default { render };
