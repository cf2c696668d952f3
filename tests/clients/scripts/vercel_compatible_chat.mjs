// Vercel's AI SDK with its provider for OpenAI-compatible servers, which reads no variables.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { MODEL } from "./scenario.mjs";
import { run } from "./vercel_common.mjs";

const bridge = createOpenAICompatible({
  name: "bridge",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
});
await run(bridge(MODEL));
