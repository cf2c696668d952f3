// What Vercel's AI SDK is asked to do, whichever of its providers speaks.

import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { DESCRIPTION, HELLO, PARAMETERS, QUESTION, tell, weather } from "./scenario.mjs";

export async function run(model) {
  const inputSchema = jsonSchema(PARAMETERS);
  const tools = { weather: tool({ description: DESCRIPTION, inputSchema, execute: weather }) };
  const usual = { model, maxRetries: 0, stopWhen: stepCountIs(3) };
  const onError = ({ error }) => { throw error; };

  const reply = await generateText({ ...usual, prompt: HELLO });
  const pieces = [];
  for await (const piece of streamText({ ...usual, prompt: HELLO, onError }).textStream) {
    pieces.push(piece);
  }
  const told = await generateText({ ...usual, tools, prompt: QUESTION });
  const again = await streamText({ ...usual, tools, prompt: QUESTION, onError }).text;
  tell(reply.text, pieces, told.text, again);
}
