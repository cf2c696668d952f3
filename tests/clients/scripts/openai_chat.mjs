// OpenAI's SDK for Node at chat completions.

import OpenAI from "openai";
import { DESCRIPTION, HELLO, MODEL, PARAMETERS, QUESTION, tell, weather } from "./scenario.mjs";

const client = new OpenAI({ maxRetries: 0 });
const tool = { name: "weather", description: DESCRIPTION, parameters: PARAMETERS };
const tools = [{ type: "function", function: tool }];
const hello = [{ role: "user", content: HELLO }];
const ask = [{ role: "user", content: QUESTION }];

async function whole(messages) {
  const reply = await client.chat.completions.create({ model: MODEL, messages, tools });
  return reply.choices[0].message;
}

async function streamed(messages) {
  const stream = client.chat.completions.stream({ model: MODEL, messages, tools });
  return stream.finalMessage();
}

function answer(message) {
  const [call] = message.tool_calls;
  const content = weather(JSON.parse(call.function.arguments));
  return [...ask, message, { role: "tool", tool_call_id: call.id, content }];
}

const reply = await client.chat.completions.create({ model: MODEL, messages: hello });
const pieces = [];
const chunks = await client.chat.completions.create({ model: MODEL, messages: hello, stream: true });
for await (const chunk of chunks) pieces.push(chunk.choices[0]?.delta.content);
const told = await whole(answer(await whole(ask)));
const again = await streamed(answer(await streamed(ask)));
tell(reply.choices[0].message.content, pieces, told.content, again.content);
