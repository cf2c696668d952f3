// a[data-confirm]: asks in the page's dialog, then posts to the link's address. Without
// JavaScript the link leads to a page that asks the same.
(() => {
  const dialog = document.querySelector("[data-confirm-dialog]");
  if (!dialog) return;
  const part = (name) => dialog.querySelector(`[data-confirm-${name}]`);

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-confirm]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    part("title").textContent = link.dataset.title;
    part("text").textContent = link.dataset.text;
    part("action").textContent = link.dataset.action;
    dialog.querySelector("form").action = link.href;
    dialog.showModal();
  });
  part("cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
})();
