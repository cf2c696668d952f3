// Anthropic's SDK for Node at messages.

import Anthropic from "@anthropic-ai/sdk";
import { DESCRIPTION, HELLO, MODEL, PARAMETERS, QUESTION, tell, weather } from "./scenario.mjs";

const client = new Anthropic({ maxRetries: 0 });
const tools = [{ name: "weather", description: DESCRIPTION, input_schema: PARAMETERS }];
const usual = { model: MODEL, max_tokens: 100 };
const hello = [{ role: "user", content: HELLO }];
const ask = [{ role: "user", content: QUESTION }];

const whole = (messages) => client.messages.create({ messages, tools, ...usual });
const streamed = (messages) => client.messages.stream({ messages, tools, ...usual }).finalMessage();

function answer({ content }) {
  const use = content.at(-1);
  const result = { type: "tool_result", tool_use_id: use.id, content: weather(use.input) };
  return [...ask, { role: "assistant", content }, { role: "user", content: [result] }];
}

const reply = await client.messages.create({ messages: hello, ...usual });
const pieces = [];
const stream = client.messages.stream({ messages: hello, ...usual });
stream.on("text", (text) => pieces.push(text));
await stream.finalMessage();
const told = await whole(answer(await whole(ask)));
const again = await streamed(answer(await streamed(ask)));
tell(reply.content[0].text, pieces, told.content[0].text, again.content[0].text);
