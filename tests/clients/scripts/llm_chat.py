"""Simon Willison's llm, which knows models and keys from two files of its own."""

import json
import os
from pathlib import Path

import llm
from scenario import HELLO, MODEL, QUESTION, tell, weather

MODELS = f"""
- model_id: bridge
  model_name: {MODEL}
  api_base: {os.environ["OPENAI_BASE_URL"]}
  api_key_name: modelbridge
  supports_tools: true
"""

folder = Path(os.environ["LLM_USER_PATH"])
(folder / "extra-openai-models.yaml").write_text(MODELS, encoding="utf-8")
keys = json.dumps({"modelbridge": os.environ["OPENAI_API_KEY"]})
(folder / "keys.json").write_text(keys, encoding="utf-8")
model = llm.get_model("bridge")
reply = model.prompt(HELLO, stream=False).text()
pieces = list(model.prompt(HELLO, stream=True))
told = model.chain(QUESTION, tools=[weather], stream=False).text()
again = model.chain(QUESTION, tools=[weather], stream=True).text()
tell(reply, pieces, told, again)
