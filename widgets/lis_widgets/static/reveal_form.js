// The reveal game's form. The kernel says which question it is; nothing typed is lost before it was taken.

const FEW = 12; // classes that are shown as buttons; more go into a list
const PAUSE = 300; // ms of rest after which a draft is kept by the kernel

function render({ model, el }) {
  keepKeys();
  const id = `lis-${Math.random().toString(36).slice(2)}`; // every widget has a module of its own: no count is of the page
  const headline = element("div", { class: "lis-game-headline" });
  const bar = element("progress", { "aria-label": "questions answered" });
  const more = element("button", { type: "button", class: "lis-game-more" });
  const text = element("input", {
    id: `${id}-text`, type: "text", autocomplete: "off", maxlength: model.get("longest"),
    placeholder: "a word or two", "aria-describedby": `${id}-hint`,
  });
  const label = element("label", { for: `${id}-text` }, "What do you see?");
  const hint = element(
    "div", { id: `${id}-hint`, class: "lis-game-hint" },
    "Not the class itself. Enter submits, ↓ shows more.",
  );
  const classes = element("fieldset", {}, element("legend", {}, "Which class is the picture of?"));
  const options = element("div", { class: "lis-game-classes" });
  classes.append(options);
  const submit = element("button", { type: "submit", class: "lis-game-submit" }, "Submit");
  const unknown = element("button", { type: "button" }, "No idea");
  const skip = element("button", { type: "button" }, "Skip");
  const buttons = element("div", { class: "lis-game-buttons" }, submit, unknown, skip);
  const form = element("form", { "aria-label": "reveal game" }, more, label, text, hint, classes, buttons);
  const said = element("div", { class: "lis-game-said", role: "status", "aria-live": "polite", tabindex: "-1" });
  const root = element("div", { class: "lis-game-form" }, headline, bar, form, said);
  el.appendChild(root);
  const line = courier(model, el);

  let resting = 0;
  let wanted = false; // whether the next question is to have the focus: an answer was sent from here

  function guess() {
    const list = options.querySelector("select");
    return list ? list.value : (options.querySelector("input:checked")?.value ?? "");
  }

  function keep() {
    clearTimeout(resting);
    resting = setTimeout(() => {
      model.set("draft", text.value);
      model.set("guess", guess());
      model.save_changes();
    }, PAUSE);
  }

  function tell(kind) {
    clearTimeout(resting);
    wanted = kind !== "more";
    line.pass({ kind, question: model.get("number"), label: text.value, guess: guess() || null });
  }

  function reveal() {
    if (!more.disabled) tell("more");
  }

  function choices() {
    const names = model.get("choices");
    const chosen = model.get("guess");
    if (names.length > FEW) {
      const list = element("select", { "aria-label": "class" }, element("option", { value: "" }, "choose a class"));
      for (const name of names) list.append(element("option", { value: name }, name));
      list.value = names.includes(chosen) ? chosen : "";
      options.replaceChildren(list);
      return;
    }
    const all = names.map((name) => {
      const radio = element("input", { type: "radio", name: `${id}-class`, value: name });
      radio.checked = name === chosen;
      return element("label", {}, radio, element("span", {}, name));
    });
    options.replaceChildren(...all);
  }

  function state() {
    const [step, steps] = [model.get("step"), model.get("steps")];
    headline.textContent = model.get("headline");
    [bar.max, bar.value] = [Math.max(1, model.get("total")), model.get("done")];
    more.textContent = step < steps ? `Show more (step ${step} of ${steps})` : `All ${steps} steps are shown`;
    more.disabled = step >= steps;
    form.hidden = model.get("finished");
    root.dataset.question = model.get("number");
    root.dataset.step = step;
  }

  function speak() {
    said.textContent = model.get("feedback");
  }

  // Another question: empty fields, and the hand goes on where it types.
  function fresh() {
    clearTimeout(resting);
    text.value = model.get("draft");
    choices();
    state();
    if (!wanted) return;
    wanted = false;
    (model.get("finished") ? said : text).focus({ preventScroll: true });
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    tell("submit");
  });
  form.addEventListener("input", keep);
  // JupyterLab keeps Enter in a text field from submitting its form; while letters are composed it belongs to them.
  form.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.isComposing) return;
    const asked = event.target === text && event.key === "ArrowDown";
    const sent = event.target.matches("input") && event.key === "Enter";
    if (!asked && !sent) return;
    event.preventDefault();
    if (asked) reveal();
    else if (!event.repeat) tell("submit");
  });
  more.addEventListener("click", reveal);
  unknown.addEventListener("click", () => tell("no idea"));
  skip.addEventListener("click", () => tell("skip"));

  const reactions = {
    "change:number": fresh,
    "change:step change:headline change:done change:total change:finished": state,
    "change:choices": choices,
    "change:feedback": speak,
  };
  for (const [names, react] of Object.entries(reactions)) model.on(names, react);
  fresh();
  speak();
  return () => {
    clearTimeout(resting);
    line.end();
    for (const [names, react] of Object.entries(reactions)) model.off(names, react);
  };
}

export default { render };
