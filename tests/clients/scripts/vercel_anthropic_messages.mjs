// Vercel's AI SDK with its Anthropic provider. Its base URL ends in /v1, unlike Anthropic's own SDK's.

import { createAnthropic } from "@ai-sdk/anthropic";
import { MODEL } from "./scenario.mjs";
import { run } from "./vercel_common.mjs";

await run(createAnthropic({ baseURL: `${process.env.ANTHROPIC_BASE_URL}/v1` })(MODEL));
