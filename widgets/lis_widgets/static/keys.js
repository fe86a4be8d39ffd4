// A "b" that chooses "Bag" in a dropdown would insert a cell, an arrow key leave the explorer: JupyterLab looks for its
// shortcuts before any control gets the key, but not at an element that says so; at the focused one itself, as its
// selectors ask for that. Ctrl+S, Shift+Enter and the like stay what they are.
function keepKeys() {
  const KEPT = Symbol.for("lis_widgets.keys");
  if (globalThis[KEPT]) return;
  globalThis[KEPT] = true; // one listener a page
  const mark = (event) => {
    const { target } = event;
    if (!target.closest?.('[class*="lis-"]')) return;
    const command = event.ctrlKey || event.metaKey || (event.shiftKey && event.key === "Enter");
    target.toggleAttribute("data-lm-suppress-shortcuts", !command);
  };
  window.addEventListener("keydown", mark, true);
}
