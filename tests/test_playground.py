"""The playground: any call's pipeline, as one of the person's own keys and nobody else's."""

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import hostile
import pytest
import requests
from dashboard_world import PASSWORD, hidden_fields, password_hash
from hostile import HostileUpstream
from people import Key, Person, TestBridge, wait_for

from modelbridge.store.tables import User

HELLO = [{"role": "user", "content": "Hello"}]


class Visitor:
    """Somebody who is logged in at a running bridge."""

    def __init__(self, bridge: TestBridge, person: Person) -> None:
        with bridge.database.transaction() as session:
            session.get_one(User, person.id).password_hash = password_hash()
        self.url = bridge.url
        self.web = requests.Session()
        page = self.web.get(f"{self.url}/login", timeout=30).text
        fields = hidden_fields(page) | {"email": person.email, "password": PASSWORD}
        assert self.web.post(f"{self.url}/login", fields, timeout=30).status_code == 200

    def page(self, query: str = "") -> str:
        return self.web.get(f"{self.url}/playground{query}", timeout=30).text

    def token(self) -> str:
        page = self.web.get(f"{self.url}/docs/errors", timeout=30).text
        return hidden_fields(page)["csrf_token"]

    def call(self, key_id: str, model: str = "gpt-test", **more: Any) -> requests.Response:
        headers = more.pop("headers", {"X-CSRFToken": self.token()})
        return self.web.post(
            f"{self.url}/playground/calls",
            json={"key": key_id, "model": model, "messages": HELLO} | more,
            headers=headers,
            timeout=60,
            stream=True,
        )


@pytest.fixture
def visitor(bridge: TestBridge, alice: Person) -> Iterator[Visitor]:
    found = Visitor(bridge, alice)
    yield found
    found.web.close()


def events(answer: requests.Response) -> list[dict[str, Any]]:
    frames = [frame for frame in answer.text.split("\n\n") if frame.startswith("data: {")]
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def text_of(found: list[dict[str, Any]]) -> str:
    deltas = (choice["delta"] for event in found for choice in event.get("choices", ()))
    return "".join(delta.get("content") or "" for delta in deltas)


def test_an_answer_streams_and_its_cost_is_posted(
    bridge: TestBridge, visitor: Visitor, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(hostile.stream(3))
    answer = visitor.call(key.id)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = events(answer)
    assert text_of(found)
    usage = found[-1]["usage"]
    call = bridge.last_call()
    assert (call.endpoint, call.key_id, call.usage_source) == ("playground", key.id, "reported")
    assert call.cost_nanos == key.spending.spent_nanos > 0
    assert float(usage["cost"]) > 0


def test_a_test_key_is_answered_by_the_sandbox_for_nothing(
    bridge: TestBridge, visitor: Visitor, alice: Person
) -> None:
    key = alice.key(test=True)
    found = events(visitor.call(key.id, "claude-sonnet-4-6"))
    assert text_of(found)
    assert found[-1]["usage"]["cost"] == "0.00"
    assert alice.account.balance_nanos == 10_000_000_000


def test_the_keys_limit_holds(visitor: Visitor, alice: Person) -> None:
    key = alice.key(limit="0.000001")
    answer = visitor.call(key.id)
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "spending_limit_exceeded"


def test_the_keys_models_hold(visitor: Visitor, alice: Person) -> None:
    key = alice.key(models=["claude-test"])
    assert visitor.call(key.id, "gpt-test").status_code == 403
    assert visitor.call(key.id, "nonsense").status_code == 404
    answer = visitor.web.get(f"{visitor.url}/playground/models?key={key.id}", timeout=30)
    assert answer.json() == {"models": ["claude-test"]}


def test_somebody_elses_key_is_not_found(
    bridge: TestBridge, visitor: Visitor, bob: Person, key: Key
) -> None:
    his = bob.key()
    teams_key = bridge.key(account_id=bridge.team("Acme", bob), user_id=bob.id)
    for key_id in (his.id, teams_key.id, "key_unknown", ""):
        assert visitor.call(key_id).status_code == 404
        url = f"{visitor.url}/playground/models?key={key_id}"
        assert visitor.web.get(url, timeout=30).status_code == 404
    assert his.id not in visitor.page(f"?key={his.id}")
    assert bridge.calls() == []


def test_ones_own_team_key_spends_from_the_team(
    bridge: TestBridge, visitor: Visitor, alice: Person
) -> None:
    account_id = bridge.team("Acme", alice)
    key = bridge.key(account_id=account_id, user_id=alice.id)
    assert "(Acme, …" in unescape(visitor.page())
    assert text_of(events(visitor.call(key.id)))
    assert bridge.account(account_id).balance_nanos < 10_000_000_000
    assert alice.account.balance_nanos == 10_000_000_000


def test_a_key_that_was_revoked_meanwhile_is_refused(visitor: Visitor, key: Key) -> None:
    assert key.id in visitor.page()
    key.revoke()
    answer = visitor.call(key.id)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "api_key_revoked")
    assert key.id not in visitor.page()


def test_a_call_without_the_token_is_refused(
    bridge: TestBridge, visitor: Visitor, key: Key
) -> None:
    assert visitor.call(key.id, headers={}).status_code == 400
    assert bridge.calls() == []


def test_a_stranger_is_sent_to_the_login(bridge: TestBridge, key: Key) -> None:
    answer = requests.post(
        f"{bridge.url}/playground/calls", json={"key": key.id}, allow_redirects=False, timeout=30
    )
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"key": 1, "key": 2}', b"null", b'"x"'])
def test_what_is_no_call_is_refused(visitor: Visitor, body: bytes) -> None:
    answer = visitor.web.post(
        f"{visitor.url}/playground/calls",
        data=body,
        headers={"X-CSRFToken": visitor.token(), "Content-Type": "application/json"},
        timeout=30,
    )
    assert answer.status_code == 400


def test_the_maximum_of_output_is_passed_on_and_other_fields_are_not(
    visitor: Visitor, key: Key, upstream: HostileUpstream
) -> None:
    visitor.call(key.id, max_tokens=17, n=50, stream=False).close()
    (seen,) = upstream.wait_for(1)
    assert seen["body"]["max_completion_tokens"] == 17
    assert "n" not in seen["body"]
    assert visitor.call(key.id, max_tokens="many").status_code == 400
    assert visitor.call(key.id, messages="Hello").status_code == 400


def test_an_upstreams_failure_is_told(
    visitor: Visitor, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(hostile.status(500))
    answer = visitor.call(key.id)
    assert answer.status_code == 502
    assert "upstream" in answer.json()["error"]["message"]


def test_stopping_in_the_middle_settles_and_frees_the_slot(
    bridge: TestBridge, visitor: Visitor, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(hostile.stream(40, 0.05))
    answer = visitor.call(key.id)
    next(answer.iter_content(1))
    assert bridge.bridge.gateway.slots.in_use == 1
    answer.close()
    wait_for(lambda: bridge.bridge.gateway.slots.in_use == 0)
    assert bridge.last_call().finish == "client_left"
    assert key.spending.held_nanos == 0


def options(page: str) -> set[str]:
    return set(re.findall(r'<option value="([^"]+)"></option>', page))


def test_the_page_offers_what_the_key_may_call(visitor: Visitor, alice: Person, key: Key) -> None:
    assert {"claude-test", "gpt-test", "gpt-5.4"} <= options(visitor.page())
    assert 'value="gpt-test"' in visitor.page("?model=gpt-test")
    narrow = alice.key(models=["claude-test", "elsewhere"])
    assert options(visitor.page(f"?key={narrow.id}")) == {"claude-test"}
    test_key = alice.key(test=True)
    assert "sandbox-slow" in visitor.page(f"?key={test_key.id}")


def test_somebody_without_a_key_is_told_to_make_one(
    bridge: TestBridge, charlie: Person, tmp_path: Path
) -> None:
    visitor = Visitor(bridge, charlie)
    assert "It needs a key" in visitor.page()
    visitor.web.close()
