// form[data-playground]: shows an answer while it streams, as text, and then what it cost.
(() => {
  const form = document.querySelector("[data-playground]");
  if (!form) return;
  const [talk, note, send, stop, clear] = ["talk", "note", "send", "stop", "clear"].map((name) =>
    form.querySelector(`[data-${name}]`),
  );
  const { key, model, max_tokens: most, prompt, csrf_token: token } = form.elements;
  let messages = [];
  let running = null;

  function say(role, text) {
    const line = document.createElement("div");
    Object.assign(line, { className: `said said-${role}`, textContent: text });
    talk.append(line);
    talk.scrollTop = talk.scrollHeight;
    return line;
  }

  function tell(text, bad = false) {
    note.textContent = text;
    note.classList.toggle("is-bad", bad);
  }

  function busy(controller) {
    running = controller;
    send.disabled = controller !== null;
    stop.hidden = controller === null;
  }

  async function ask(line, signal) {
    const begun = performance.now();
    const body = { key: key.value, model: model.value.trim(), messages };
    if (most.value) body.max_tokens = Number(most.value);
    const headers = { "Content-Type": "application/json", "X-CSRFToken": token.value };
    const answer = await fetch(form.dataset.calls, { method: "POST", headers, body: JSON.stringify(body), signal });
    if (!answer.headers.get("content-type")?.includes("event-stream")) {
      const failed = await answer.json().catch(() => null);
      throw new Error(failed?.error.message ?? "The bridge refused this. Reload the page and try again.");
    }
    for await (const { error, choices, usage } of window.readEvents(answer.body)) {
      if (error) throw new Error(error.message);
      line.textContent += choices?.[0]?.delta?.content ?? "";
      talk.scrollTop = talk.scrollHeight;
      if (!usage) continue;
      const seconds = ((performance.now() - begun) / 1000).toFixed(1);
      tell(`${usage.prompt_tokens} tokens in, ${usage.completion_tokens} out, AUD ${usage.cost}, ${seconds} s`);
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    const text = prompt.value;
    const [mine, line] = [say("user", text), say("assistant", "")];
    messages.push({ role: "user", content: text });
    prompt.value = "";
    tell("");
    busy(new AbortController());
    try {
      await ask(line, running.signal);
    } catch (error) {
      if (error.name === "AbortError") tell("Stopped. What the provider bills until then is charged.");
      else tell(error.message, true);
    }
    busy(null);
    if (line.textContent) return messages.push({ role: "assistant", content: line.textContent });
    // Nothing came: the message goes back to where it was written.
    messages.pop();
    mine.remove();
    line.remove();
    return (prompt.value = text);
  });
  stop.addEventListener("click", () => running?.abort());
  clear.addEventListener("click", () => {
    messages = [];
    talk.replaceChildren();
    tell("");
  });
})();
