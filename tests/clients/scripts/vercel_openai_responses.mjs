// Vercel's AI SDK with its OpenAI provider at responses, as it is without settings.

import { openai } from "@ai-sdk/openai";
import { MODEL } from "./scenario.mjs";
import { run } from "./vercel_common.mjs";

await run(openai(MODEL));
