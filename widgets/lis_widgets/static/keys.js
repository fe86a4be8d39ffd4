// A "b" that chooses "Bag" in a dropdown would insert a cell, an arrow key leave the explorer: JupyterLab looks for its
// shortcuts before any control gets the key, but not at an element that says so; at the focused one itself, as its
// selectors ask for that. Ctrl+S, Shift+Enter and the like stay what they are. Escape leaves for the cell, as long as
// the control has no use for it: else the keyboard alone would have no way back but Tab through all that follows.
function keepKeys() {
  const KEPT = Symbol.for("lis_widgets.keys");
  if (globalThis[KEPT]) return;
  globalThis[KEPT] = true; // one listener a page
  const leave = ({ defaultPrevented }, target) => {
    if (!defaultPrevented) target.closest(".jp-Cell")?.focus({ preventScroll: true });
  };
  const mark = (event) => {
    const { target } = event;
    if (!target.closest?.('[class*="lis-"]')) return;
    const command = event.ctrlKey || event.metaKey || (event.shiftKey && event.key === "Enter");
    target.toggleAttribute("data-lm-suppress-shortcuts", !command);
    const empties = target.type === "search" && target.value; // what browsers do with Escape there
    if (event.key === "Escape" && !empties) setTimeout(() => leave(event, target)); // when the control has had it
  };
  window.addEventListener("keydown", mark, true);
}
