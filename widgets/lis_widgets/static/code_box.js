// Code to copy. Clipboards are refused to pages without https, to frames, and to users who said no: then the text is
// selected, and a line says which keys to press.

function render({ model, el }) {
  keepKeys();
  const box = document.createElement("div");
  box.className = "lis-code";
  const head = document.createElement("div");
  const label = document.createElement("span");
  const copy = document.createElement("button");
  copy.type = "button";
  copy.textContent = "Copy";
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  const text = document.createElement("pre");
  text.tabIndex = 0;
  head.append(label, copy, said);
  box.append(head, text);
  el.appendChild(box);

  function draw() {
    label.textContent = model.get("label");
    text.setAttribute("aria-label", model.get("label"));
    text.textContent = model.get("text");
    said.textContent = "";
  }

  async function onCopy() {
    try {
      await navigator.clipboard.writeText(model.get("text"));
      said.textContent = "copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(text);
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      text.focus();
      said.textContent = /Mac/.test(navigator.platform) ? "press ⌘C to copy" : "press Ctrl+C to copy";
    }
  }

  copy.addEventListener("click", onCopy);
  model.on("change:text change:label", draw);
  draw();
  return () => model.off("change:text change:label", draw);
}

export default { render };
