// readEvents(body): the JSON of each "data:" frame of an event stream, as it comes.
window.readEvents = async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const data = frame.startsWith("data: ") ? frame.slice(6) : "";
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
};
