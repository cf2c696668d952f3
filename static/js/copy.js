// data-copy="#id": copies that element's text, and says so on the button and to screen readers.
(() => {
  async function copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    // Plain http on another machine has no clipboard object; a selection can still be copied.
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("the browser refused to copy");
  }

  function say(button, label, announcement) {
    const shown = button.querySelector("[data-copy-label]");
    button.dataset.label ??= shown.textContent;
    shown.textContent = label;
    document.querySelector("[data-announce]").textContent = announcement;
    clearTimeout(button.timer);
    button.timer = setTimeout(() => (shown.textContent = button.dataset.label), 2000);
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    try {
      await copy(document.querySelector(button.dataset.copy).textContent);
      say(button, "Copied", button.dataset.copied);
    } catch {
      say(button, "Not copied", "Copying failed: select the text and copy it yourself");
    }
  });
})();
