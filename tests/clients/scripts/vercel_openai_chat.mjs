// Vercel's AI SDK with its OpenAI provider at chat completions.

import { openai } from "@ai-sdk/openai";
import { MODEL } from "./scenario.mjs";
import { run } from "./vercel_common.mjs";

await run(openai.chat(MODEL));
