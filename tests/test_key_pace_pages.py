"""The pace of a key and its networks in the browser: set, shown, changed, refused in words."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dashboard_world import Browser, World, world_in

from modelbridge.identity import keys
from modelbridge.identity.rates import NO_RATES, Rates
from modelbridge.store.tables import ApiKey, User

ALICE = "alice@example.com"
PACE = {"rpm": "60", "tpm": "90000", "concurrency": "4", "addresses": "10.0.0.0/8, 192.0.2.1"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world


@pytest.fixture
def alice(world: World) -> User:
    return world.person(ALICE)


def make(browser: Browser, **fields: str) -> str:
    wanted = {"name": "Laptop", "mode": "test", "window": "none", "expires": "never"}
    return browser.submit("/keys/new", **{**wanted, **fields}).text


def the_key(world: World, alice: User) -> ApiKey:
    (found,) = world.keys_of(alice)
    return found


def test_what_the_form_sets_is_shown_and_can_be_changed_and_taken_away(
    world: World, alice: User
) -> None:
    browser = world.browser(ALICE)
    make(browser, **PACE)
    key = the_key(world, alice)
    assert keys.rates_of(key) == Rates(60, 90000, 4)
    assert key.allowed_addresses == ["10.0.0.0/8", "192.0.2.1/32"]
    page = browser.get(f"/keys/{key.id}").text
    assert "60 calls a minute, 90000 tokens a minute, 4 calls at once" in page
    assert "10.0.0.0/8, 192.0.2.1/32" in page
    form = browser.get(f"/keys/{key.id}/edit").text
    assert '<details class="more-fields" open>' in form
    assert 'value="90000"' in form
    fields = {"name": "Laptop", "expires": "never", "window": "none"}
    assert browser.submit(f"/keys/{key.id}/edit", **fields, rpm="5").status_code == 303
    assert keys.rates_of(the_key(world, alice)) == Rates(5, None, None)
    assert the_key(world, alice).allowed_addresses is None
    assert browser.submit(f"/keys/{key.id}/edit", **fields).status_code == 303
    assert keys.rates_of(the_key(world, alice)) == NO_RATES
    page = browser.get(f"/keys/{key.id}").text
    assert "Pace" not in page
    assert "Works from" not in page


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("rpm", "0", "Enter a whole number of calls from 1 to 60000, or nothing."),
        ("rpm", "many", "Not a valid integer value"),
        ("tpm", "-5", "Enter a whole number of tokens"),
        ("concurrency", "99999999", "Enter a whole number of calls from 1 to 10000"),
        ("addresses", "example.com", "is not an address or a network"),
        ("addresses", "10.0.0.1/8", "if you mean the whole network, write 10.0.0.0/8"),
    ],
)
def test_what_cannot_be_is_refused_beside_its_field_and_the_fields_stay_open(
    world: World, alice: User, field: str, value: str, complaint: str
) -> None:
    page = make(world.browser(ALICE), **{field: value})
    assert complaint in page
    assert f'id="{field}-error"' in page
    assert '<details class="more-fields" open>' in page
    assert world.keys_of(alice) == []


def test_most_people_do_not_see_the_fields_until_they_ask(world: World, alice: User) -> None:
    assert '<details class="more-fields">' in world.browser(ALICE).get("/keys/new").text


def test_the_playground_keeps_to_the_pace_and_the_networks_too(world: World, alice: User) -> None:
    browser = world.browser(ALICE, address="192.0.2.1")
    bound = world.key(alice, test=True, addresses=["203.0.113.7"])
    slow = world.key(alice, test=True, rates=Rates(calls=1))
    token = browser.get("/playground").text.split('name="csrf-token" content="')
    headers = {"X-CSRFToken": token[1].split('"')[0]} if len(token) > 1 else {}
    world.app.config["WTF_CSRF_ENABLED"] = False

    def call(key: ApiKey) -> tuple[int, str]:
        chat = {
            "key": key.id,
            "model": "sandbox-echo",
            "messages": [{"role": "user", "content": "x"}],
        }
        with browser.client.post("/playground/calls", json=chat, headers=headers) as answer:
            code = "" if answer.status_code == 200 else answer.get_json()["error"]["code"]
            return answer.status_code, code

    assert call(bound) == (403, "address_not_allowed")
    assert call(slow) == (200, "")
    assert call(slow) == (429, "rate_limit_exceeded")
