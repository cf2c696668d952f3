// Light or dark: as the system says, until the switch says otherwise. Runs before the first paint.
(() => {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const preferred = () => (system.matches ? "dark" : "light");

  function apply() {
    root.dataset.bsTheme = localStorage.getItem("theme") ?? preferred();
  }

  function toggle() {
    const next = root.dataset.bsTheme === "dark" ? "light" : "dark";
    // Back to what the system says: follow it again from here on.
    if (next === preferred()) localStorage.removeItem("theme");
    else localStorage.setItem("theme", next);
    apply();
  }

  root.classList.add("js");
  apply();
  system.addEventListener("change", apply);
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-theme-switch]")) toggle();
  });
})();
