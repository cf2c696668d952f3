// select[data-options-from]: its choice decides what the field [data-options] suggests.
(() => {
  const select = document.querySelector("[data-options-from]");
  const field = document.querySelector("[data-options]");
  if (!select) return;
  select.addEventListener("change", async () => {
    const url = `${select.dataset.optionsFrom}?${select.name}=${encodeURIComponent(select.value)}`;
    const { models } = await (await fetch(url)).json();
    const option = (value) => Object.assign(document.createElement("option"), { value });
    field.list.replaceChildren(...models.map(option));
    if (!models.includes(field.value)) field.value = models[0] ?? "";
  });
})();
