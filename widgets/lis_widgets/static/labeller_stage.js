// The picture under its labels: two canvases as large as the window onto it, so that large pictures stay quick. The
// lower one shows picture, colours and outlines; the upper one what moves with the hand. After labeller_map.js.

const WHEEL_STEP = 40; // CSS pixels
const ZOOMS = [0.125, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];

class Stage {
  constructor(holder, colours) {
    this.holder = holder;
    this.lower = element("canvas", { "aria-hidden": "true" });
    this.upper = element("canvas", { "aria-hidden": "true" });
    holder.append(this.lower, this.upper);
    this.colours = colours; // "#RRGGBB" of each label
    this.words = new Uint32Array(colours.map((c) => parseInt(`ff${c.slice(5, 7)}${c.slice(3, 5)}${c.slice(1, 3)}`, 16)));
    this.words[0] = 0; // background is clear
    this.map = { data: new Uint8Array(0), width: 0, height: 0 };
    this.guess = null;
    this.opacity = 0.5;
    this.outlines = true;
    this.ghost = false;
    this.zoom = 1;
    this.panX = 0;
    this.panY = 0;
    this.fitted = true;
    this.frame = 0;
    this.drawUpper = () => {};
    this.moved = () => {}; // another part of the picture is seen
    this.rolled = 0; // of the wheel, since the last step
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(holder);
  }

  end() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  // A new picture: RGB bytes and its map.
  show(rgb, map, guess) {
    const { width, height } = map;
    const moved = width !== this.map.width || height !== this.map.height;
    this.map = map;
    this.guess = guess;
    const image = new ImageData(width, height);
    for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
      image.data[to] = rgb[from];
      image.data[to + 1] = rgb[from + 1];
      image.data[to + 2] = rgb[from + 2];
      image.data[to + 3] = 255;
    }
    this.picture = element("canvas", { width, height });
    this.picture.getContext("2d").putImageData(image, 0, 0);
    this.overlay = element("canvas", { width, height });
    this.changed({ x0: 0, y0: 0, x1: width, y1: height });
    if (moved) this.fitted = true;
    this.resize();
  }

  // Labels changed within a box.
  changed(box) {
    if (!box) return;
    const { data, width } = this.map;
    const wide = box.x1 - box.x0;
    const image = new ImageData(wide, box.y1 - box.y0);
    const words = new Uint32Array(image.data.buffer);
    for (let y = box.y0; y < box.y1; y += 1) {
      for (let x = box.x0; x < box.x1; x += 1) words[(y - box.y0) * wide + x - box.x0] = this.words[data[y * width + x]];
    }
    this.overlay.getContext("2d").putImageData(image, box.x0, box.y0);
    this.redraw();
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  // ---- where things are

  resize() {
    if (!this.holder.clientWidth || !this.map.width) return; // not laid out yet
    this.wide = this.holder.clientWidth;
    this.high = this.holder.clientHeight;
    this.ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.lower, this.upper]) {
      canvas.width = Math.round(this.wide * this.ratio);
      canvas.height = Math.round(this.high * this.ratio);
    }
    if (this.fitted) this.fit();
    else this.keepInside();
  }

  fit() {
    const room = Math.min(this.wide / this.map.width, this.high / this.map.height);
    // Whole numbers keep all pixels alike.
    this.zoom = room >= 1 ? Math.floor(room) : Math.max(room, 0.01);
    this.fitted = true;
    this.keepInside();
  }

  // Enlarge by one step, keeping the point under (x, y) of the window where it is.
  zoomBy(steps, x = this.wide / 2, y = this.high / 2) {
    let at = ZOOMS.findIndex((z) => z > this.zoom * 1.001);
    if (at < 0) at = ZOOMS.length;
    // Very small pictures are shown larger than any step, very large ones smaller.
    if (steps > 0 ? at === ZOOMS.length : this.zoom <= ZOOMS[0]) return;
    const exact = ZOOMS.some((z) => Math.abs(z - this.zoom) < 0.001 * z);
    const next = ZOOMS[Math.max(0, Math.min(ZOOMS.length - 1, steps > 0 ? at : at - (exact ? 2 : 1)))];
    const before = this.zoom;
    this.zoom = next;
    this.fitted = false;
    this.panX = x - ((x - this.panX) / before) * next;
    this.panY = y - ((y - this.panY) / before) * next;
    this.keepInside();
  }

  // A notch of a mouse is one step; of the many small events of a trackpad, several are.
  wheel(event) {
    const by = event.deltaY * (event.deltaMode ? 16 : 1);
    if (by * this.rolled < 0) this.rolled = 0;
    this.rolled += by;
    if (Math.abs(this.rolled) < WHEEL_STEP) return;
    const box = this.holder.getBoundingClientRect();
    this.zoomBy(this.rolled < 0 ? 1 : -1, event.clientX - box.left, event.clientY - box.top);
    this.rolled = 0;
  }

  pan(dx, dy) {
    this.panX += dx;
    this.panY += dy;
    this.keepInside();
  }

  // What fits is centred; what does not, covers the window.
  keepInside() {
    const place = (pan, window, size) => {
      const spare = window - size;
      return Math.round(spare >= 0 ? spare / 2 : Math.min(0, Math.max(spare, pan)));
    };
    this.panX = place(this.panX, this.wide, this.map.width * this.zoom);
    this.panY = place(this.panY, this.high, this.map.height * this.zoom);
    this.redraw();
    this.moved();
  }

  reveal({ x, y }) {
    const margin = Math.min(40, this.wide / 4, this.high / 4);
    const shift = (at, window) => Math.max(0, margin - at) + Math.min(0, window - margin - at);
    const left = this.panX + (x + 0.5) * this.zoom;
    const top = this.panY + (y + 0.5) * this.zoom;
    if (shift(left, this.wide) || shift(top, this.high)) this.pan(shift(left, this.wide), shift(top, this.high));
  }

  // The place in the picture, in pixels and parts of them, of a pointer event.
  locate(event) {
    const box = this.lower.getBoundingClientRect();
    return {
      x: (event.clientX - box.left - this.panX) / this.zoom, y: (event.clientY - box.top - this.panY) / this.zoom,
    };
  }

  inside({ x, y }) {
    return x >= 0 && y >= 0 && x < this.map.width && y < this.map.height;
  }

  // ---- drawing

  begin(canvas) {
    const context = canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.wide, this.high);
    return context;
  }

  draw() {
    const { width, height } = this.map;
    if (!width || !this.wide) return;
    const context = this.begin(this.lower);
    const place = [this.panX, this.panY, width * this.zoom, height * this.zoom];
    context.imageSmoothingEnabled = this.zoom < 1;
    context.drawImage(this.picture, ...place);
    context.imageSmoothingEnabled = false;
    context.globalAlpha = this.opacity;
    context.drawImage(this.overlay, ...place);
    context.globalAlpha = 1;
    if (this.ghost && this.guess) this.drawGhost(context);
    if (this.outlines) this.drawOutlines(context);
    this.hover();
  }

  // What is in the window: x0 <= x < x1 of the picture.
  visible() {
    const { width, height } = this.map;
    return {
      x0: Math.max(0, Math.floor(-this.panX / this.zoom)), y0: Math.max(0, Math.floor(-this.panY / this.zoom)),
      x1: Math.min(width, Math.ceil((this.wide - this.panX) / this.zoom)),
      y1: Math.min(height, Math.ceil((this.high - this.panY) / this.zoom)),
    };
  }

  // Outlines run inside the parts, so that two neighbours show both of their colours.
  drawOutlines(context) {
    const { data, width, height } = this.map;
    const { x0, y0, x1, y1 } = this.visible();
    const z = this.zoom;
    const thick = z >= 6 ? 2 : 1;
    const paths = this.colours.map(() => []);
    for (let y = y0; y < y1; y += 1) {
      for (let x = x0; x < x1; x += 1) {
        const i = y * width + x;
        const label = data[i];
        if (!label) continue;
        const left = this.panX + x * z;
        const top = this.panY + y * z;
        const path = paths[label];
        if (x === 0 || data[i - 1] !== label) path.push(left, top, thick, z);
        if (x === width - 1 || data[i + 1] !== label) path.push(left + z - thick, top, thick, z);
        if (y === 0 || data[i - width] !== label) path.push(left, top, z, thick);
        if (y === height - 1 || data[i + width] !== label) path.push(left, top + z - thick, z, thick);
      }
    }
    paths.forEach((path, label) => {
      context.fillStyle = this.colours[label];
      for (let i = 0; i < path.length; i += 4) context.fillRect(path[i], path[i + 1], path[i + 2], path[i + 3]);
    });
  }

  // Where the guess differs: stripes of the guess's colour, black and white where it says background.
  drawGhost(context) {
    const { data, width } = this.map;
    const { x0, y0, x1, y1 } = this.visible();
    const stripes = this.colours.map((colour, label) => () => {
      const tile = element("canvas", { width: 8, height: 8 });
      const pen = tile.getContext("2d");
      const line = (shift, style) => {
        pen.strokeStyle = style;
        pen.lineWidth = 2;
        for (const x of [-8, 0, 8]) {
          pen.beginPath();
          pen.moveTo(x + shift - 2, 10);
          pen.lineTo(x + shift + 10, -2);
          pen.stroke();
        }
      };
      line(0, label ? colour : "#ffffff");
      line(4, "#000000");
      return context.createPattern(tile, "repeat");
    });
    const made = [];
    for (let y = y0; y < y1; y += 1) {
      for (let x = x0; x < x1; x += 1) {
        const label = this.guess[y * width + x];
        if (label === data[y * width + x]) continue;
        context.fillStyle = made[label] ??= stripes[label]();
        context.fillRect(this.panX + x * this.zoom, this.panY + y * this.zoom, this.zoom, this.zoom);
      }
    }
  }

  hover() {
    const context = this.begin(this.upper);
    context.save();
    this.drawUpper(context);
    context.restore();
  }

  // A line that is seen on light and dark: black under white.
  trace(context, path, dashed = false) {
    context.lineJoin = "round";
    for (const [style, width] of [["#000000", 3], ["#ffffff", 1]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.setLineDash(dashed && width === 1 ? [4, 4] : []);
      context.stroke(path);
    }
  }

  // The outline of pixels that a brush at (x, y) touches.
  traceBrush(context, { x, y }, offsets) {
    const touched = new Set(offsets.map(([dx, dy]) => `${dx},${dy}`));
    const path = new Path2D();
    const z = this.zoom;
    for (const [dx, dy] of offsets) {
      const left = this.panX + (x + dx) * z;
      const top = this.panY + (y + dy) * z;
      const side = (ox, oy, ax, ay, bx, by) => {
        if (touched.has(`${dx + ox},${dy + oy}`)) return;
        path.moveTo(left + ax * z, top + ay * z);
        path.lineTo(left + bx * z, top + by * z);
      };
      side(-1, 0, 0, 0, 0, 1);
      side(1, 0, 1, 0, 1, 1);
      side(0, -1, 0, 0, 1, 0);
      side(0, 1, 0, 1, 1, 1);
    }
    this.trace(context, path);
  }

  // A polygon in the making, with its corners, up to the pointer.
  traceCorners(context, points, to) {
    const path = new Path2D();
    const middle = ({ x, y }) => [this.panX + (x + 0.5) * this.zoom, this.panY + (y + 0.5) * this.zoom];
    points.forEach((point, i) => (i ? path.lineTo(...middle(point)) : path.moveTo(...middle(point))));
    if (to) path.lineTo(...middle(to));
    this.trace(context, path, true);
    const marks = new Path2D();
    for (const point of points) {
      const [x, y] = middle(point);
      marks.rect(x - 3, y - 3, 6, 6);
    }
    this.trace(context, marks);
  }
}
