// Everything of the part labeller that is seen, beside the picture: buttons, fields, palette, keys. After kit.js.

const TOOLS = [
  ["paint", "Paint", "b", "paint with the chosen part"],
  ["erase", "Erase", "e", "paint background"],
  ["fill", "Fill", "f", "all touching pixels of one part get the chosen part"],
  ["polygon", "Polygon", "p", "click its corners; Enter or a double click closes it, Escape drops it"],
  ["move", "Move", "h", "drag the picture"],
];
const KEYS = [
  ["0 … 9, Shift 1 … 9", "choose background or a part (10 to 18 with Shift)"],
  ["b e f p h", "paint, erase, fill, polygon, move"],
  ["[ ]", "smaller, larger brush"],
  ["Ctrl Z, Ctrl Y", "undo, redo (also Ctrl Shift Z)"],
  [", . or PageUp PageDown", "previous, next picture; n: the next without a mask"],
  ["t, g", "take the guess; show where it differs (stripes)"],
  ["o", "outlines on and off"],
  ["+ − w", "enlarge, reduce, whole picture; also the wheel"],
  ["Space and drag", "move the picture"],
  ["Alt and click", "choose the part that is there"],
  ["s", "save as it is (a picture without any part, a guess that is right)"],
  ["arrows, Space", "move the cursor, use the tool there; Shift and arrows paint a line"],
  ["Enter, Escape, Backspace", "close the polygon, drop it, drop its last corner"],
  ["Delete", "clear the picture (Undo brings it back)"],
];

function keyOf(label) {
  if (label < 10) return String(label);
  return label < 19 ? `⇧${label - 9}` : "";
}

// What a key asks for: { way: "undo" | "redo" }, { label }, or { name } of a command.
function keyMeaning(event) {
  const { ctrlKey, metaKey, altKey, shiftKey } = event;
  const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((ctrlKey || metaKey) && !altKey) {
    const way = { z: shiftKey ? "redo" : "undo", y: "redo" }[letter];
    return way ? { way } : letter === "s" ? { name: "s" } : {};
  }
  const digit = /^Digit([1-9])$/.exec(event.code);
  if (!altKey && /^\d$/.test(letter)) return { label: Number(letter) };
  if (!altKey && shiftKey && digit) return { label: Number(digit[1]) + 9 };
  // On some keyboards the brackets need AltGr, which browsers call Ctrl and Alt.
  return altKey && !"[]".includes(letter) ? {} : { name: letter };
}

function labelledButton(text, key, title, attributes = {}) {
  const { class: own = "", ...others } = attributes;
  const made = element("button", { type: "button", class: `lis-button lis-focusable ${own}`.trim(), title: title || null, ...others }, text);
  if (key) made.append(element("kbd", {}, key));
  return made;
}

function labellerPanel(names, colours) {
  const uid = Math.random().toString(36).slice(2);
  const button = labelledButton;
  const field = (text, ...controls) => element("label", { class: "lis-field" }, text, ...controls);
  const group = (...buttons) => element("span", { class: "lis-group" }, ...buttons);
  const slider = (name, attributes) => element("input", { type: "range", class: `lis-${name} lis-focusable`, ...attributes });
  const check = (attributes) => element("input", { type: "checkbox", class: "lis-focusable", ...attributes });

  const panel = {
    choice: element("select", { class: "lis-focusable", "aria-label": "picture" }),
    progress: element("span", { class: "lis-progress" }),
    saved: element("span", { class: "lis-saved" }),
    previous: button("◀", "", "previous picture (, or PageUp)", { "aria-label": "previous picture" }),
    next: button("▶", "", "next picture (. or PageDown)", { "aria-label": "next picture" }),
    onwards: button("next to label", "n", "the next picture without a mask"),

    tools: TOOLS.map(([name, text, key, title]) => button(text, key, `${title} (${key})`, { "data-tool": name })),
    undo: button("Undo", "", "Ctrl+Z"),
    redo: button("Redo", "", "Ctrl+Y or Ctrl+Shift+Z"),
    take: button("Take the guess", "t", "replace all labels by the segmenter's"),
    clear: button("Clear", "", "all background (Delete)"),
    keep: button("Save as it is", "s", "counts as labelled from now on, also without any part"),

    brush: slider("brush", { min: 1, max: 16, value: 1 }),
    brushText: element("output", {}, "1 px"),
    opacity: slider("opacity", { min: 0, max: 100, value: 50 }),
    outlines: check({ checked: "" }),
    ghost: check(),
    reduce: button("−", "", "reduce (−)", { "aria-label": "reduce" }),
    enlarge: button("+", "", "enlarge (+)", { "aria-label": "enlarge" }),
    whole: button("whole", "w", "the whole picture"),

    holder: element("div", {
      class: "lis-stage", tabindex: 0, role: "application", "aria-roledescription": "painting area",
    }),
    readout: element("div", { class: "lis-readout" }),
    radios: names.map((_, i) => element("input", { type: "radio", name: `lis-${uid}`, value: i, class: "lis-focusable" })),

    problem: element("div", { class: "lis-message lis-error", role: "alert" }),
    note: element("div", { class: "lis-message lis-note", role: "status" }),
    offer: element("div", { class: "lis-message lis-offer", role: "alert" }),
  };
  panel.ghostField = field("", panel.ghost, "where the guess differs", element("kbd", {}, "g"));
  panel.rows = names.map((name, i) => {
    const swatch = element("span", { class: `lis-swatch${i ? "" : " lis-none"}` });
    if (i) swatch.style.background = colours[i];
    return element("label", { class: "lis-part" }, panel.radios[i], swatch, element("kbd", {}, keyOf(i)),
      element("span", { class: "lis-name", title: name }, name));
  });

  const bar = (...children) => element("div", { class: "lis-bar" }, ...children);
  const tools = bar(group(...panel.tools), group(panel.undo, panel.redo), group(panel.take, panel.clear, panel.keep));
  tools.setAttribute("role", "group");
  tools.setAttribute("aria-label", "tools");
  // It takes the focus of clicks beside the controls: keys after them are not the notebook's.
  panel.root = element("div", { class: "lis-labeller", tabindex: -1, "data-lm-suppress-shortcuts": "true" },
    panel.problem, panel.offer, panel.note,
    bar(panel.previous, panel.choice, panel.next, panel.onwards, panel.progress, panel.saved),
    tools,
    bar(field("brush", panel.brush, panel.brushText), field("colours", panel.opacity),
      field("", panel.outlines, "outlines", element("kbd", {}, "o")), panel.ghostField,
      group(panel.reduce, panel.enlarge, panel.whole)),
    element("div", { class: "lis-work" }, element("div", {}, panel.holder, panel.readout),
      element("fieldset", { class: "lis-palette" }, element("legend", {}, "parts"), ...panel.rows)),
    element("details", { class: "lis-help" },
      element("summary", { class: "lis-focusable" }, "Keys, while the focus is in this frame"),
      element("dl", {}, ...KEYS.map(([key, text]) => element("div", {}, element("dt", {}, key), element("dd", {}, text))))));
  return Object.assign(panel, panelActs(panel));
}

const TOLD = {
  silent: "The kernel does not answer: it is busy with another cell, or was restarted.",
  kept: "What you painted is kept in this browser: after a restart run this cell again to get it back.",
  unkept: "This browser keeps no strokes: what the kernel has not answered to is only on this page, and lost with it.",
};
const SAVED = { none: "no mask yet", saving: "saving …", done: "saved", failed: "not saved", unread: "can't be read" };

function panelActs(panel) {
  // When a focused button goes, the focus would fall to the notebook, and the next key with it.
  const refocus = () => panel.holder.focus({ preventScroll: true });

  function able(made, on) {
    if (!on && document.activeElement === made) refocus();
    made.disabled = !on;
  }

  return {
    // The list of pictures, and how far the work has come.
    list(marks, titles, index) {
      panel.choice.replaceChildren(...titles.map((title, i) =>
        element("option", { value: i }, `${marks[i] ? "✓" : "○"} ${i + 1}. ${title}`)));
      panel.choice.value = String(index);
      panel.progress.textContent = `${marks.filter(Boolean).length} of ${titles.length} labelled`;
      able(panel.previous, index > 0);
      able(panel.next, index < titles.length - 1);
      able(panel.onwards, marks.some((mark, i) => !mark && i !== index));
    },

    // What the painter is set to and can do.
    dress({ locked, history, tool, label, size }, guess) {
      panel.tools.forEach((made) => made.setAttribute("aria-pressed", String(made.dataset.tool === tool)));
      panel.radios.forEach((radio, i) => { radio.checked = i === label; });
      able(panel.undo, !locked && history.canUndo);
      able(panel.redo, !locked && history.canRedo);
      able(panel.take, !locked && guess);
      able(panel.clear, !locked);
      able(panel.keep, !locked);
      panel.ghostField.hidden = !guess;
      panel.brush.value = size;
      panel.brushText.textContent = `${size} px`;
      panel.holder.classList.toggle("lis-locked", locked);
      panel.holder.dataset.tool = tool;
    },

    // Whether what is painted is in its file.
    badge(kind) {
      panel.root.dataset.saved = kind;
      panel.saved.className = `lis-saved lis-${kind}`;
      panel.saved.textContent = SAVED[kind];
    },

    // The fields that say how the picture is shown.
    views(stage) {
      for (const [control, read] of [
        [panel.opacity, () => { stage.opacity = Number(panel.opacity.value) / 100; }],
        [panel.outlines, () => { stage.outlines = panel.outlines.checked; }],
        [panel.ghost, () => { stage.ghost = panel.ghost.checked; }],
      ]) {
        control.addEventListener("input", () => {
          read();
          stage.redraw();
        });
      }
    },

    // A message, with buttons.
    tell(box, text, ...actions) {
      box.replaceChildren(...(text ? [text, ...actions.flatMap((action) => [" ", action])] : []));
    },

    action(text, title, act) {
      const made = labelledButton(text, "", title);
      made.addEventListener("click", () => {
        act();
        refocus();
      });
      return made;
    },
  };
}
