// form[data-presets]: choosing a provider suggests its name and shows its address.
(() => {
  const form = document.querySelector("form[data-presets]");
  if (!form) return;
  const { provider, name, base_url: address } = form.elements;
  let suggested = name.value === "" || name.value === provider.value;

  name.addEventListener("input", () => (suggested = name.value === ""));
  function show() {
    const preset = provider.selectedOptions[0].dataset.baseUrl;
    address.placeholder = preset || "Needed: this provider has no address of its own";
    if (suggested) name.value = provider.value.replaceAll("_", "-");
  }
  provider.addEventListener("change", show);
  show();
})();
