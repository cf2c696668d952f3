// Small manners of forms, each asked for by an attribute.
(() => {
  const all = (selector) => document.querySelectorAll(selector);

  // data-once: a double click sends the form once.
  for (const form of all("form[data-once]")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
    });
  }
  // Coming back with the back button: the form may be sent again.
  window.addEventListener("pageshow", () => {
    for (const form of all("form[data-once]")) delete form.dataset.sent;
  });

  // data-reveal="#id": shows and hides a password.
  for (const button of all("[data-reveal]")) {
    const input = document.querySelector(button.dataset.reveal);
    button.addEventListener("click", () => {
      const shown = input.type === "password";
      input.type = shown ? "text" : "password";
      button.setAttribute("aria-pressed", String(shown));
      button.firstChild.textContent = shown ? "Hide" : "Show";
    });
    input.form.addEventListener("submit", () => (input.type = "password"));
  }

  // data-show-when="#id=value": only there while that field has that value.
  for (const element of all("[data-show-when]")) {
    const [selector, value] = element.dataset.showWhen.split("=");
    const source = document.querySelector(selector);
    const update = () => (element.hidden = source.value !== value);
    source.addEventListener("change", update);
    update();
  }

  // data-toggle="id": opens and closes that element.
  for (const button of all("[data-toggle]")) {
    button.addEventListener("click", () => {
      const open = document.getElementById(button.dataset.toggle).classList.toggle("is-open");
      button.setAttribute("aria-expanded", String(open));
    });
  }

  // A refused form: to the first field that has to be mended.
  document.querySelector("[aria-invalid=true]")?.focus();
})();
