// What every client here does; scenario.py says it for both languages.

export const MODEL = process.argv[2];
export const HELLO = "Hello";
export const QUESTION = "How warm is Perth?";
export const DESCRIPTION = "The weather in a city";
export const PARAMETERS = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

const asked = [];

export function weather({ city }) {
  asked.push({ city });
  return "31 degrees";
}

export function tell(chat, stream, answer, streamedAnswer) {
  const pieces = stream.filter((piece) => piece);
  console.log(JSON.stringify({ chat, stream: pieces, asked, answers: [answer, streamedAnswer] }));
}
