// OpenAI's SDK for Node at responses.

import OpenAI from "openai";
import { DESCRIPTION, HELLO, MODEL, PARAMETERS, QUESTION, tell, weather } from "./scenario.mjs";

const client = new OpenAI({ maxRetries: 0 });
const tool = { name: "weather", description: DESCRIPTION, parameters: PARAMETERS };
const tools = [{ type: "function", strict: true, ...tool }];

const whole = (input) => client.responses.create({ model: MODEL, input, tools });
const streamed = (input) => client.responses.stream({ model: MODEL, input, tools }).finalResponse();

function answer(response) {
  const call = response.output.at(-1);
  const output = weather(JSON.parse(call.arguments));
  const items = response.output.map(({ parsed_arguments, ...item }) => item);
  const result = { type: "function_call_output", call_id: call.call_id, output };
  return [{ role: "user", content: QUESTION }, ...items, result];
}

const reply = await client.responses.create({ model: MODEL, input: HELLO });
const pieces = [];
const events = await client.responses.create({ model: MODEL, input: HELLO, stream: true });
for await (const event of events) {
  if (event.type === "response.output_text.delta") pieces.push(event.delta);
}
const told = await whole(answer(await whole(QUESTION)));
const again = await streamed(answer(await streamed(QUESTION)));
tell(reply.output_text, pieces, told.output_text, again.output_text);
