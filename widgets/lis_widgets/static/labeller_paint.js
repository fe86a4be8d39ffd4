// The hand that paints: tool, part, brush, the stroke or polygon in the making, and undo. After labeller_map.js.

class Painter {
  // `changed(box)` after every change of the map, `done()` when one is complete and to be saved.
  constructor(changed, done) {
    this.changed = changed;
    this.done = done;
    this.map = { data: new Uint8Array(0), width: 0, height: 0 };
    this.history = new LabelHistory();
    this.locked = true;
    this.tool = "paint";
    this.label = 1;
    this.size = 1;
    this.stroke = null; // { before, box, last, label }
    this.corners = [];
  }

  open(map, history) {
    this.map = map;
    this.history = history;
    this.stroke = null;
    this.corners = [];
  }

  get brushing() {
    return this.tool === "paint" || this.tool === "erase";
  }

  at({ x, y }) {
    return this.map.data[y * this.map.width + x];
  }

  edit(change) {
    if (this.locked) return;
    const before = this.map.data.slice();
    this.settle(before, change(this.map));
  }

  settle(before, box) {
    if (!box || !changedBox(before, this.map.data, this.map.width)) return;
    this.history.push(before, this.map, box);
    this.changed(box);
    this.done();
  }

  replace(data) {
    this.edit((map) => {
      const box = changedBox(map.data, data, map.width);
      map.data.set(data);
      return box;
    });
  }

  step(way) {
    this.finish();
    if (this.locked || !(way === "undo" ? this.history.canUndo : this.history.canRedo)) return;
    this.changed(this.history[way](this.map));
    this.done();
  }

  strokeTo(at) {
    if (this.locked) return;
    const label = this.tool === "erase" ? 0 : this.label;
    this.stroke ??= { before: this.map.data.slice(), box: null, last: at, label };
    const box = drawLine(this.map, this.stroke.last, at, this.size, this.stroke.label);
    this.stroke.last = at;
    this.stroke.box = union(this.stroke.box, box);
    this.changed(box);
  }

  // End a stroke; a polygon waits for more corners.
  finish() {
    if (!this.stroke) return;
    const { before, box } = this.stroke;
    this.stroke = null;
    this.settle(before, box);
  }

  addCorner(at) {
    const last = this.corners.at(-1);
    if (!last || last.x !== at.x || last.y !== at.y) this.corners.push(at);
  }

  closePolygon() {
    const points = this.corners;
    this.corners = [];
    if (points.length) this.edit((map) => fillPolygon(map, points, this.label));
  }

  // Use the tool at a pixel.
  apply(at) {
    if (this.tool === "fill") this.edit((map) => floodFill(map, at, this.label));
    else if (this.tool === "polygon") this.addCorner(at);
    else if (this.brushing) this.strokeTo(at);
  }

  use(tool) {
    this.finish();
    if (tool !== "polygon") this.corners = [];
    this.tool = tool;
  }

  choose(label) {
    this.label = label;
    if (this.tool === "erase") this.tool = "paint";
  }
}
