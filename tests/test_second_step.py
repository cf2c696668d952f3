"""The second step of the login: set up, asked for, guessed at, lost, required, taken away."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
import time_machine
from dashboard_world import PASSWORD, Browser, World, world_in
from people import flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from modelbridge import clock
from modelbridge.identity import second_step, users
from modelbridge.store.tables import AuditEvent, RecoveryCode, User

ALICE, BOB = "alice@example.com", "bob@example.com"
SETUP = "/account/second-step"
NOW = clock.now().replace(microsecond=0, second=5)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with time_machine.travel(NOW, tick=False), world_in(tmp_path) as world:
        yield world


@pytest.fixture
def alice(world: World) -> Browser:
    world.person(ALICE, is_admin=True)
    return world.browser(ALICE)


def begin(browser: Browser) -> pyotp.TOTP:
    """What a device makes of the page's secret."""
    answer = browser.submit(SETUP, to=f"{SETUP}/begin", password=PASSWORD)
    assert (answer.status_code, answer.location) == (303, SETUP)
    secret = re.search(r'<code id="secret">([A-Z2-7 ]+)</code>', browser.get(SETUP).text)
    assert secret is not None
    return pyotp.TOTP(secret[1].replace(" ", ""))


def code_of(device: pyotp.TOTP, *, aside: int = 0) -> str:
    return device.at(clock.now(), counter_offset=aside)


def turn_on(browser: Browser) -> tuple[pyotp.TOTP, list[str]]:
    device = begin(browser)
    answer = browser.submit(SETUP, code=code_of(device))
    assert answer.status_code == 200
    return device, codes_on(answer)


def codes_on(answer: TestResponse) -> list[str]:
    shown = re.search(r'id="codes">([^<]+)<', answer.text)
    assert shown is not None
    return shown[1].split()


def code_page(world: World, **query: str) -> tuple[Browser, TestResponse]:
    """A browser that has shown Alice's password, and what came of it."""
    browser = world.browser()
    return browser, browser.submit("/login", email=ALICE, password=PASSWORD, **query)


def log_in_with(world: World, code: str) -> tuple[Browser, TestResponse]:
    browser, _ = code_page(world)
    return browser, browser.submit("/login/code", code=code)


def row(world: World) -> User:
    with world.bridge.database.reading() as session:
        found = users.find_user(session, ALICE)
    assert found is not None
    return found


def events(world: World, action: str) -> list[AuditEvent]:
    with world.bridge.database.reading() as session:
        return list(session.scalars(select(AuditEvent).where(AuditEvent.action == action)))


# Set up


def test_it_is_on_once_the_device_has_shown_a_code(world: World, alice: Browser) -> None:
    device = begin(alice)
    assert 'src="data:image/svg+xml' in alice.get(SETUP).text
    assert not second_step.is_on(row(world))
    assert world.browser(ALICE).is_logged_in()
    answer = alice.submit(SETUP, code=code_of(device))
    assert len(set(codes_on(answer))) == 10
    assert second_step.is_on(row(world))
    assert "10 unused recovery codes" in alice.get(SETUP).text
    assert len(events(world, "account.second_step_on")) == 1


def test_setting_it_up_needs_the_password(world: World, alice: Browser) -> None:
    answer = alice.submit(SETUP, to=f"{SETUP}/begin", password="not my password")
    assert answer.status_code == 400
    assert "not your password" in answer.text
    assert row(world).totp_sealed is None


def test_a_wrong_first_code_turns_nothing_on(world: World, alice: Browser) -> None:
    begin(alice)
    answer = alice.submit(SETUP, code="000000")
    assert answer.status_code == 400
    assert "code is wrong" in answer.text
    assert not second_step.is_on(row(world))


def test_turning_it_on_logs_other_browsers_out(world: World, alice: Browser) -> None:
    other = world.browser(ALICE)
    turn_on(alice)
    assert alice.is_logged_in()
    assert not other.is_logged_in()


def test_neither_secret_nor_codes_lie_in_the_database(world: World, alice: Browser) -> None:
    device, codes = turn_on(alice)
    data = b"".join(path.read_bytes() for path in world.bridge.database.path.parent.glob("*.db*"))
    assert device.secret.encode() not in data
    for code in codes:
        assert code.encode() not in data
        assert code.replace("-", "").encode() not in data


def test_the_secret_is_not_shown_again(world: World, alice: Browser) -> None:
    device, codes = turn_on(alice)
    page = alice.get(SETUP).text
    assert device.secret[:8] not in page.replace(" ", "")
    assert codes[0] not in page
    again = alice.submit(SETUP, to=f"{SETUP}/begin", password=PASSWORD)
    assert again.status_code == 303
    assert second_step.is_on(row(world))


# The login


def test_the_password_alone_opens_nothing(world: World, alice: Browser) -> None:
    turn_on(alice)
    browser, answer = code_page(world)
    assert (answer.status_code, answer.location) == (303, "/login/code")
    assert not browser.is_logged_in()
    assert browser.get("/login/code").status_code == 200


def test_a_code_completes_the_login_and_leads_where_it_should(world: World, alice: Browser) -> None:
    device, _ = turn_on(alice)
    with time_machine.travel(NOW + timedelta(seconds=30), tick=False):
        browser, answer = code_page(world, next="/usage")
        assert answer.location == "/login/code?next=/usage"
        answer = browser.submit(answer.location, to="/login/code", code=f" {code_of(device)} ")
        assert (answer.status_code, answer.location) == (303, "/usage")
        assert browser.is_logged_in()
    assert [event.details for event in events(world, "session.login")][-1] == {
        "second_step": "code"
    }


def test_a_code_works_once(world: World, alice: Browser) -> None:
    device, _ = turn_on(alice)
    used = code_of(device)
    assert log_in_with(world, used)[1].status_code == 401
    with time_machine.travel(NOW + timedelta(seconds=30), tick=False):
        fresh = code_of(device)
        assert log_in_with(world, fresh)[1].status_code == 303
        assert log_in_with(world, fresh)[1].status_code == 401
        assert log_in_with(world, code_of(device, aside=-1))[1].status_code == 401


def test_clocks_may_differ_by_half_a_minute_and_no_more(world: World, alice: Browser) -> None:
    device, _ = turn_on(alice)
    with time_machine.travel(NOW + timedelta(minutes=5), tick=False):
        for aside in (-3, -2, 2, 3):
            assert log_in_with(world, code_of(device, aside=aside))[1].status_code == 401
        assert log_in_with(world, code_of(device, aside=-1))[1].status_code == 303
        assert log_in_with(world, code_of(device, aside=1))[1].status_code == 303


def test_nonsense_is_refused_in_words(world: World, alice: Browser) -> None:
    turn_on(alice)
    browser, _ = code_page(world)
    for code in ("123", "００００００", "é" * 200, "-", "None", "\x00"):
        assert browser.submit("/login/code", code=code).status_code == 401
    assert browser.submit("/login/code", code="").status_code == 400
    assert len(events(world, "session.wrong_code")) == 6


def test_without_the_password_there_is_nothing_to_give_a_code_to(
    world: World, alice: Browser
) -> None:
    turn_on(alice)
    stranger = world.browser()
    assert stranger.get("/login/code").status_code == 400
    assert stranger.submit("/login", to="/login/code", code="123456").status_code == 400


def test_ten_minutes_after_the_password_it_has_to_be_shown_again(
    world: World, alice: Browser
) -> None:
    device, _ = turn_on(alice)
    browser, _ = code_page(world)
    with time_machine.travel(NOW + timedelta(minutes=10), tick=False):
        assert browser.get("/login/code").status_code == 400
        answer = browser.submit("/login", to="/login/code", code=code_of(device))
        assert answer.status_code == 400
        assert not browser.is_logged_in()


def test_a_login_half_done_ends_with_the_password_and_with_the_person(
    world: World, alice: Browser
) -> None:
    turn_on(alice)
    browser, _ = code_page(world)
    with world.transaction() as session:
        user = session.get_one(User, row(world).id)
        before = user.password_hash
        user.password_hash = "another"
    assert browser.get("/login/code").status_code == 400
    with world.transaction() as session:
        user = session.get_one(User, row(world).id)
        user.password_hash, user.disabled_at = before, clock.now()
    assert browser.get("/login/code").status_code == 400


def test_guesses_of_codes_are_slowed_down_whatever_the_address(
    world: World, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, _ = turn_on(alice)
    browser, _ = code_page(world)
    statuses = []
    for number in range(24):
        browser.client.environ_base["REMOTE_ADDR"] = f"198.51.100.{number}"
        statuses.append(browser.submit("/login/code", code="000000").status_code)
    assert statuses == [401] * 20 + [429] * 4
    later = clock.monotonic() + 31 * 60
    monkeypatch.setattr(clock, "monotonic", lambda: later)
    with time_machine.travel(NOW + timedelta(seconds=30), tick=False):
        assert browser.submit("/login/code", code=code_of(device)).status_code == 303


def test_a_reset_link_does_not_pass_by_the_second_step(world: World, alice: Browser) -> None:
    device, _ = turn_on(alice)
    thief = world.browser()
    answer = thief.submit(world.link("reset", row(world)), password="several quiet giraffes")
    assert answer.location == "/login/code"
    assert not thief.is_logged_in()
    with time_machine.travel(NOW + timedelta(seconds=30), tick=False):
        assert thief.submit("/login/code", code=code_of(device)).status_code == 303
        assert thief.is_logged_in()


# Recovery codes


def test_each_recovery_code_works_once_however_it_is_typed(world: World, alice: Browser) -> None:
    _, codes = turn_on(alice)
    for typed in (codes[0], codes[1].upper(), codes[2].replace("-", " ")):
        browser, answer = log_in_with(world, typed)
        assert answer.status_code == 303
        assert "are left" in browser.get("/account").text
        assert log_in_with(world, typed)[1].status_code == 401
    with world.bridge.database.reading() as session:
        assert second_step.recovery_codes_left(session, row(world)) == 7


def test_nobody_elses_recovery_code_works(world: World, alice: Browser) -> None:
    turn_on(alice)
    world.person(BOB)
    _, codes = turn_on(world.browser(BOB))
    assert log_in_with(world, codes[0])[1].status_code == 401


def test_new_recovery_codes_replace_the_old_ones(world: World, alice: Browser) -> None:
    _, old = turn_on(alice)
    refused = alice.submit(SETUP, to=f"{SETUP}/codes", codes_password="wrong")
    assert refused.status_code == 400
    new = codes_on(alice.submit(SETUP, to=f"{SETUP}/codes", codes_password=PASSWORD))
    assert not set(old) & set(new)
    assert log_in_with(world, old[0])[1].status_code == 401
    assert log_in_with(world, new[0])[1].status_code == 303


# Off


def off(browser: Browser, **fields: str) -> TestResponse:
    wanted = {"off_password": PASSWORD, **fields}
    return browser.submit(SETUP, to=f"{SETUP}/off", **wanted)


def test_turning_it_off_takes_password_and_code_and_logs_others_out(
    world: World, alice: Browser
) -> None:
    device, codes = turn_on(alice)
    other, _ = log_in_with(world, codes[0])
    assert off(alice, off_password="wrong", off_code=codes[1]).status_code == 400
    assert off(alice, off_code="000000").status_code == 400
    assert second_step.is_on(row(world))
    assert off(alice, off_code=codes[1]).status_code == 303
    assert alice.is_logged_in()
    assert not other.is_logged_in()
    assert world.browser(ALICE).is_logged_in()
    with world.bridge.database.reading() as session:
        assert session.scalars(select(RecoveryCode)).all() == []
    assert len(events(world, "account.second_step_off")) == 1


def test_guesses_of_the_code_that_turns_it_off_are_slowed_down_too(
    world: World, alice: Browser
) -> None:
    """Whoever has the password and a browser that is logged in does not get to guess, either."""
    _, codes = turn_on(alice)
    statuses = [off(alice, off_code="000000").status_code for _ in range(12)]
    assert statuses == [400] * 10 + [429] * 2
    assert off(alice, off_code=codes[0]).status_code == 429
    assert second_step.is_on(row(world))
    assert len(events(world, "session.wrong_code")) == 10
    alice.client.environ_base["REMOTE_ADDR"] = "198.51.100.7"
    assert off(alice, off_code=codes[0]).status_code == 303


def test_an_administrator_turns_a_lost_one_off(world: World, alice: Browser) -> None:
    bob = world.person(BOB)
    assert f"/admin/users/{bob.id}/second-step" not in alice.get(f"/admin/users/{bob.id}").text
    bobs = world.browser(BOB)
    turn_on(bobs)
    path = f"/admin/users/{bob.id}/second-step"
    assert path in alice.get(f"/admin/users/{bob.id}").text
    assert "Turn off the second step of bob" in alice.get(path).text
    assert alice.submit(path).status_code == 303
    assert not bobs.is_logged_in()
    assert world.browser(BOB).is_logged_in()
    assert len(events(world, "user.second_step_off")) == 1
    assert alice.submit(f"/admin/users/{bob.id}/link", to=path).status_code == 303
    assert len(events(world, "user.second_step_off")) == 1


def test_the_command_line_says_what_becomes_of_it(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        world.person(ALICE)
        turn_on(world.browser(ALICE))
    kept = flask(tmp_path, "user", "reset", ALICE)
    assert "Their second step stays on" in kept.stderr
    assert "--second-step" in kept.stderr
    taken = flask(tmp_path, "user", "reset", "--second-step", ALICE)
    assert "Their second step is off" in taken.stderr
    assert taken.stdout.startswith("http")
    none = flask(tmp_path, "user", "reset", "--second-step", ALICE)
    assert "They had no second step" in none.stderr
    with world_in(tmp_path) as world:
        assert not second_step.is_on(row(world))


# Required


def require(browser: Browser, wanted: bool) -> None:
    fields: dict[str, Any] = {"registration": "invitation", "time_zone": "Australia/Sydney"}
    if wanted:
        fields["second_step"] = "y"
    assert browser.submit("/admin/settings", **fields).status_code == 303


def test_while_it_is_required_who_has_none_sets_it_up_first(world: World, alice: Browser) -> None:
    world.person(BOB)
    bob = world.browser(BOB)
    require(alice, True)
    for browser in (alice, bob):
        for path in ("/", "/keys", "/account", "/admin", "/playground", "/account/profile"):
            open_it = browser.post if path == "/account/profile" else browser.get
            answer = open_it(path)
            assert (answer.status_code, answer.location) == (303, SETUP), path
    assert "wants everybody" in bob.get(SETUP).text
    turn_on(bob)
    assert bob.is_logged_in()
    assert bob.submit("/keys", to="/logout").status_code == 303
    turn_on(alice)
    require(alice, False)
    world.person("charlie@example.com")
    assert world.browser("charlie@example.com").is_logged_in()


def test_who_is_led_to_it_can_still_log_out(world: World, alice: Browser) -> None:
    require(alice, True)
    answer = alice.submit(SETUP, to="/logout")
    assert answer.location == "/login"
    assert not alice.is_logged_in()


def test_under_another_master_key_codes_cannot_be_checked_and_it_says_so(tmp_path: Path) -> None:
    with world_in(tmp_path, MODELBRIDGE_MASTER_KEY="one") as world:
        world.person(ALICE)
        device, _ = turn_on(world.browser(ALICE))
    with world_in(tmp_path, MODELBRIDGE_MASTER_KEY="two") as world:
        _, answer = log_in_with(world, code_of(device))
        assert answer.status_code == 503
        assert "master key is not the one of before" in answer.text
    both = {"MODELBRIDGE_MASTER_KEY": "two", "MODELBRIDGE_OLD_MASTER_KEY": "one"}
    with world_in(tmp_path, **both) as world:
        assert log_in_with(world, code_of(device, aside=1))[1].status_code == 303
