// Saving: label maps go to the kernel after every stroke. What it has not confirmed yet is kept in the browser, so that
// nothing is lost when the kernel dies. After labeller_map.js.

const WORRY = 3000; // ms without an answer until that is told
const STORE = "lis-part-labeller";

function toText(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

// Strokes of a folder's pictures, in localStorage: the labels, and the keys of what they were painted on.
class Kept {
  constructor(place, of) {
    this.place = place;
    this.of = of; // key of parts, size and generator: another folder at the same place is another story
  }

  name(file) {
    return `${STORE}|${this.place}|${file}`;
  }

  // False where the browser does not allow it, or is full.
  put(file, data, bases) {
    const entry = { of: this.of, bases, length: data.length, at: Date.now(), labels: toText(packRuns(data)) };
    try {
      localStorage.setItem(this.name(file), JSON.stringify(entry));
      return true;
    } catch (error) {
      return false;
    }
  }

  get(file) {
    try {
      const entry = JSON.parse(localStorage.getItem(this.name(file)));
      if (!entry || entry.of !== this.of || !Array.isArray(entry.bases)) return null;
      const packed = Uint8Array.from(atob(entry.labels), (letter) => letter.charCodeAt(0));
      return { ...entry, data: unpackRuns(packed, entry.length) };
    } catch (error) {
      return null; // damaged, or not allowed
    }
  }

  drop(file) {
    try {
      localStorage.removeItem(this.name(file));
    } catch (error) {
      // not allowed: then nothing was kept
    }
  }
}

class Saver {
  // `silent()` when something is at stake and the kernel says nothing; `state(kind)`: "saving", "done" or "failed";
  // `refused(file, text, changed)`; `unkept()` when the browser can't keep strokes.
  constructor(model, { silent, state, refused, unkept }) {
    this.model = model;
    this.tell = { silent, state, refused, unkept };
    this.kept = new Kept(model.get("place"), model.get("identity"));
    this.keeps = true; // the browser keeps strokes
    this.view = Math.random().toString(36).slice(2);
    this.number = 0;
    this.timer = 0;
    this.known = new Map(); // file -> key of what the kernel has
    this.sent = new Map(); // file -> [{ number, key, data }] without an answer
    this.failed = new Map(); // file -> the labels that the kernel could not save
  }

  waiting(file) {
    return (this.sent.get(file) ?? []).length > 0;
  }

  get waits() {
    return [...this.sent.values()].some((list) => list.length);
  }

  // Labels that the kernel may have by now: what it confirmed, and all that was sent since.
  bases(file) {
    return [this.known.get(file), ...(this.sent.get(file) ?? []).map(({ key }) => key)];
  }

  save(file, data, bases = this.bases(file)) {
    const key = contentKey(data);
    const own = data.slice();
    this.keeps = this.kept.put(file, own, bases);
    if (!this.keeps) this.tell.unkept();
    const number = this.send({ kind: "save", file, bases }, [own.buffer]);
    this.sent.set(file, [...(this.sent.get(file) ?? []), { number, key, data: own }]);
    this.tell.state("saving");
  }

  send(content, buffers = []) {
    this.watch();
    return this.ask(content, buffers);
  }

  // Without a timer: nothing is at stake.
  ask(content, buffers = []) {
    this.number += 1;
    try {
      this.model.send({ ...content, number: this.number, view: this.view }, undefined, buffers);
    } catch (error) {
      // The comm is gone with its kernel: the timer tells.
    }
    return this.number;
  }

  watch() {
    this.timer ||= setTimeout(() => {
      this.timer = -1; // told
      this.tell.silent();
    }, WORRY);
  }

  // Any sign of life.
  heard() {
    if (this.timer > 0) clearTimeout(this.timer);
    this.timer = 0;
    if (this.waits) this.watch();
  }

  receive(message) {
    const { file, number } = message;
    if (message.view === this.view && ["saved", "refused"].includes(message.kind) && this.sent.has(file)) {
      const answered = this.sent.get(file).filter((one) => one.number <= number);
      this.sent.set(file, this.sent.get(file).filter((one) => one.number > number));
      if (message.kind === "saved") {
        this.known.set(file, message.key);
        this.failed.delete(file);
        if (!this.waiting(file)) this.kept.drop(file);
        if (!this.waits && !this.failed.size) this.tell.state("done");
      } else if (answered.length) {
        this.failed.set(file, answered.at(-1).data);
      }
    }
    this.heard();
    if (message.kind === "refused" && message.view === this.view) this.tell.refused(file, message.text, message.changed);
  }

  // Of files whose keys the kernel told: strokes that it never confirmed. Those painted on other labels than the file
  // has now are out of date, and dropped.
  newer(keys, length) {
    const found = [];
    for (const [file, key] of Object.entries(keys)) {
      const entry = this.kept.get(file);
      if (!entry || this.waiting(file)) continue;
      const fits = entry.length === length && entry.bases.includes(key) && contentKey(entry.data) !== key;
      if (fits) found.push([file, entry]);
      else this.kept.drop(file);
    }
    return found;
  }
}
