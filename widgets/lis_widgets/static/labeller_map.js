// Label maps: one byte a pixel, row by row. Drawing in them, packing them, and the history of their changes.

const HISTORY_BYTES = 32 << 20; // packed; older steps are forgotten

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k += 1) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c >>> 0;
});

// CRC-32 in eight letters, as lis_toolkit's content_key gives it.
function contentKey(bytes) {
  let c = 0xffffffff;
  for (let i = 0; i < bytes.length; i += 1) c = CRC_TABLE[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return ((c ^ 0xffffffff) >>> 0).toString(16).padStart(8, "0");
}

// Runs of equal bytes: the byte, then the length in groups of seven bits.
function packRuns(bytes) {
  const out = [];
  for (let i = 0; i < bytes.length; ) {
    let end = i + 1;
    while (end < bytes.length && bytes[end] === bytes[i]) end += 1;
    out.push(bytes[i]);
    for (let n = end - i; ; n >>>= 7) {
      out.push(n > 127 ? (n & 127) | 128 : n);
      if (n <= 127) break;
    }
    i = end;
  }
  return Uint8Array.from(out);
}

function unpackRuns(packed, length) {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (let i = 0; i < packed.length; ) {
    const value = packed[i++];
    let n = 0;
    for (let shift = 0; ; shift += 7) {
      const group = packed[i++];
      n |= (group & 127) << shift;
      if (!(group & 128)) break;
    }
    bytes.fill(value, at, at + n);
    at += n;
  }
  return bytes;
}

// Boxes of pixels: x0 <= x < x1, y0 <= y < y1; null is no pixel.
function union(a, b) {
  if (!a || !b) return a ?? b;
  return { x0: Math.min(a.x0, b.x0), y0: Math.min(a.y0, b.y0), x1: Math.max(a.x1, b.x1), y1: Math.max(a.y1, b.y1) };
}

function crop({ data, width }, box) {
  const wide = box.x1 - box.x0;
  const out = new Uint8Array(wide * (box.y1 - box.y0));
  for (let y = box.y0; y < box.y1; y += 1) {
    out.set(data.subarray(y * width + box.x0, y * width + box.x1), (y - box.y0) * wide);
  }
  return out;
}

function paste({ data, width }, box, bytes) {
  const wide = box.x1 - box.x0;
  for (let y = box.y0; y < box.y1; y += 1) {
    data.set(bytes.subarray((y - box.y0) * wide, (y - box.y0 + 1) * wide), y * width + box.x0);
  }
}

// The box of all pixels in which two maps differ.
function changedBox(before, after, width) {
  let box = null;
  for (let i = 0; i < after.length; i += 1) {
    if (before[i] === after[i]) continue;
    const x = i % width;
    const y = (i - x) / width;
    box = union(box, { x0: x, y0: y, x1: x + 1, y1: y + 1 });
  }
  return box;
}

// ---- drawing; each gives the box that it may have changed

// Where a round brush touches: pixels whose centre is nearer than half its size. Even sizes have their middle on a
// corner of pixels, so the brush at (x, y) covers x - size / 2 ... x + size / 2 - 1.
function brushOffsets(size) {
  const out = [];
  const middle = size % 2 ? 0 : -0.5;
  const reach = Math.floor(size / 2);
  for (let dy = -reach; dy <= reach; dy += 1) {
    for (let dx = -reach; dx <= reach; dx += 1) {
      if ((dx - middle) ** 2 + (dy - middle) ** 2 < (size / 2) ** 2) out.push([dx, dy]);
    }
  }
  return out;
}

function stamp(map, x, y, offsets, label) {
  for (const [dx, dy] of offsets) {
    const px = x + dx;
    const py = y + dy;
    if (px >= 0 && py >= 0 && px < map.width && py < map.height) map.data[py * map.width + px] = label;
  }
}

function clampBox(map, box) {
  const clamped = {
    x0: Math.max(0, box.x0), y0: Math.max(0, box.y0), x1: Math.min(map.width, box.x1), y1: Math.min(map.height, box.y1),
  };
  return clamped.x0 < clamped.x1 && clamped.y0 < clamped.y1 ? clamped : null;
}

function drawLine(map, from, to, size, label) {
  const offsets = brushOffsets(size);
  const steps = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y));
  for (let k = 0; k <= steps; k += 1) {
    const share = steps ? k / steps : 0;
    const x = Math.floor(from.x + (to.x - from.x) * share + 0.5);
    stamp(map, x, Math.floor(from.y + (to.y - from.y) * share + 0.5), offsets, label);
  }
  const reach = Math.floor(size / 2) + 1;
  return clampBox(map, {
    x0: Math.min(from.x, to.x) - reach, y0: Math.min(from.y, to.y) - reach,
    x1: Math.max(from.x, to.x) + reach, y1: Math.max(from.y, to.y) + reach,
  });
}

// All pixels of one label that hang together by their sides get another one.
function floodFill(map, { x, y }, label) {
  const { data, width, height } = map;
  const old = data[y * width + x];
  if (old === label) return null;
  let box = null;
  const todo = [[x, y]];
  while (todo.length) {
    const [sx, sy] = todo.pop();
    if (data[sy * width + sx] !== old) continue;
    let x0 = sx;
    let x1 = sx;
    while (x0 > 0 && data[sy * width + x0 - 1] === old) x0 -= 1;
    while (x1 < width - 1 && data[sy * width + x1 + 1] === old) x1 += 1;
    data.fill(label, sy * width + x0, sy * width + x1 + 1);
    box = union(box, { x0, y0: sy, x1: x1 + 1, y1: sy + 1 });
    for (const ny of [sy - 1, sy + 1]) {
      if (ny < 0 || ny >= height) continue;
      for (let px = x0; px <= x1; px += 1) {
        const here = data[ny * width + px] === old;
        if (here && (px === x0 || data[ny * width + px - 1] !== old)) todo.push([px, ny]);
      }
    }
  }
  return box;
}

// A polygon through the middles of pixels: what lies inside, and the pixels on its sides.
function fillPolygon(map, points, label) {
  let box = null;
  points.forEach((point, i) => {
    box = union(box, drawLine(map, point, points[(i + 1) % points.length], 1, label));
  });
  const ys = points.map(({ y }) => y);
  for (let y = Math.max(0, Math.min(...ys)); y <= Math.min(map.height - 1, Math.max(...ys)); y += 1) {
    const crossings = [];
    points.forEach((a, i) => {
      const b = points[(i + 1) % points.length];
      if (a.y <= y !== b.y <= y) crossings.push(a.x + ((y - a.y) / (b.y - a.y)) * (b.x - a.x));
    });
    crossings.sort((a, b) => a - b);
    for (let k = 0; k + 1 < crossings.length; k += 2) {
      const x0 = Math.max(0, Math.ceil(crossings[k]));
      const x1 = Math.min(map.width - 1, Math.floor(crossings[k + 1]));
      if (x0 <= x1) map.data.fill(label, y * map.width + x0, y * map.width + x1 + 1);
    }
  }
  return box;
}

// ---- history: what changed, packed, within the box of each change

class LabelHistory {
  constructor() {
    this.steps = [];
    this.at = 0; // steps before it are done, those after it undone
    this.bytes = 0;
  }

  // `before`: the whole map as it was.
  push(before, map, box) {
    for (const step of this.steps.splice(this.at)) this.bytes -= step.size;
    const old = packRuns(crop({ data: before, width: map.width }, box));
    const step = { box, before: old, after: packRuns(crop(map, box)) };
    step.size = step.before.length + step.after.length;
    this.steps.push(step);
    this.bytes += step.size;
    while (this.bytes > HISTORY_BYTES && this.steps.length > 1) this.bytes -= this.steps.shift().size;
    this.at = this.steps.length;
  }

  get canUndo() {
    return this.at > 0;
  }

  get canRedo() {
    return this.at < this.steps.length;
  }

  undo(map) {
    this.at -= 1;
    return this.place(map, this.steps[this.at], "before");
  }

  redo(map) {
    this.at += 1;
    return this.place(map, this.steps[this.at - 1], "after");
  }

  place(map, step, which) {
    const { box } = step;
    paste(map, box, unpackRuns(step[which], (box.x1 - box.x0) * (box.y1 - box.y0)));
    return box;
  }
}
