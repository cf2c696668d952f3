"""The canonical form has words of its own for what came in another format: no client may use them.

What only the Responses format can say is put into an upstream's body as it came. A chat that could
say it would choose its own maximum and the provider's own tools, which nobody had paid for.
"""

from typing import Any

import pytest
from hostile import HostileUpstream
from people import HELLO, Person, TestBridge
from responses_words import UPSTREAM, target

from modelbridge.dialects import openai_chat

WEATHER = {"name": "sky__weather", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize("name", ["responses_fields", "anthropic_fields"])
def test_a_chat_that_uses_them_is_refused_and_nothing_is_sent(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream, name: str
) -> None:
    bridge.upstream("openai", upstream.base_url, "openai_responses")
    bridge.model("reasoner", "openai")
    evades: dict[str, Any] = {"max_output_tokens": 10**6, "tools": [{"type": "web_search"}]}
    answer = alice.key().chat("reasoner", **{name: evades})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == name
    assert answer.json()["error"]["code"] == "unsupported_parameter"
    assert upstream.seen() == []


@pytest.mark.parametrize("nothing", [None, False])
def test_what_says_nothing_there_does_nothing(nothing: Any) -> None:
    body = {"model": "m", "messages": HELLO, "responses_fields": nothing}
    tools = [{"type": "function", "function": WEATHER}]
    request = openai_chat.read_request({**body, "tools": tools})
    wire = UPSTREAM.build_request(request, target(), 99)
    assert wire.body["max_output_tokens"] == 99
    assert wire.body["tools"][0]["strict"] is False


def test_marks_beside_a_chats_tools_make_no_tools_of_other_kinds() -> None:
    marks = {
        "namespace": {"name": "sky", "type": "web_search"},
        "custom": {"type": "code_interpreter", "container": {"type": "auto"}},
    }
    tools = [{"type": "function", "function": WEATHER, **marks}]
    request = openai_chat.read_request({"model": "m", "messages": HELLO, "tools": tools})
    (tool,) = UPSTREAM.build_request(request, target(), 99).body["tools"]
    assert tool.keys() == {"type", "name", "parameters", "strict"}
    assert (tool["type"], tool["name"]) == ("function", "sky__weather")
