// data-refresh-url: the element is fetched again every few seconds and replaced when it changed.
// An answer without that attribute is the last. Nothing is asked while nobody looks.
(() => {
  const EVERY_MS = 2500;
  const TRIES_AFTER_FAILURE_MS = 15000;

  async function refresh(element) {
    const answer = await fetch(element.dataset.refreshUrl, { redirect: "error" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const template = document.createElement("template");
    template.innerHTML = await answer.text();
    const fresh = template.content.firstElementChild;
    if (fresh.outerHTML !== element.dataset.refreshKnown) {
      const known = fresh.outerHTML;
      element.replaceWith(fresh);
      fresh.dataset.refreshKnown = known;
      const said = fresh.dataset.refreshSaid;
      if (said) document.querySelector("[data-announce]").textContent = said;
    }
  }

  async function turn() {
    const element = document.querySelector("[data-refresh-url]");
    if (!element) return;
    let wait = EVERY_MS;
    if (!document.hidden) {
      try {
        await refresh(element);
      } catch {
        wait = TRIES_AFTER_FAILURE_MS;
      }
    }
    setTimeout(turn, wait);
  }

  for (const element of document.querySelectorAll("[data-refresh-url]")) {
    element.dataset.refreshKnown = element.outerHTML;
  }
  setTimeout(turn, EVERY_MS);
})();
