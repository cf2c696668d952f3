// Tabs that scroll sideways on a narrow screen: the current one is in sight.
(() => {
  function show() {
    for (const current of document.querySelectorAll(".tabs [aria-current]")) {
      const list = current.closest("ul");
      const before = current.getBoundingClientRect().left - list.getBoundingClientRect().left;
      list.scrollLeft += before - (list.clientWidth - current.offsetWidth) / 2;
    }
  }
  show();
  addEventListener("resize", show);
})();
