"""Logging in, setting up the first administrator, resetting a password."""

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from argon2 import PasswordHasher
from dashboard_world import PASSWORD, Browser, World, world_in
from people import wait_for
from werkzeug.test import TestResponse
from zxcvbn import matching

from modelbridge import clock
from modelbridge.dashboard.filters import distance, foldable
from modelbridge.dashboard.throttle import LoginThrottle, Throttle
from modelbridge.errors import Overloaded
from modelbridge.identity import keys, passwords, users
from modelbridge.store.tables import OneTimeLink, User

ALICE = "alice@example.com"
NEW_PASSWORD = "several quiet giraffes"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world


def set_up(browser: Browser, link: str, **fields: str) -> TestResponse:
    wanted = {"name": "Alice", "email": ALICE, "password": PASSWORD}
    return browser.submit(link, **{**wanted, **fields})


def test_the_login_page_of_a_new_bridge_says_where_to_begin(world: World) -> None:
    assert "set-up link" in world.browser().get("/login").text
    world.person(ALICE, is_admin=True)
    assert "set-up link" not in world.browser().get("/login").text


def test_the_set_up_link_makes_an_administrator_who_is_logged_in(world: World) -> None:
    alice = world.browser()
    answer = set_up(alice, world.link("setup"))
    assert (answer.status_code, answer.location) == (303, "/")
    page = alice.get("/", follow_redirects=True)
    assert "Welcome, Alice" in page.text
    assert "Overview" in page.text
    with world.bridge.database.reading() as session:
        user = users.find_user(session, "ALICE@example.com")
    assert user is not None
    assert user.is_admin
    assert user.account.kind == "user"
    assert PASSWORD not in (user.password_hash or "")


def test_the_first_test_key_becomes_the_first_administrators(world: World) -> None:
    with world.transaction() as session:
        keys.create_key(
            session,
            account_id=None,
            user_id=None,
            name="First test key",
            test=True,
            limit_nanos=None,
            window="none",
            expires_at=None,
            models=None,
        )
    alice = world.browser()
    set_up(alice, world.link("setup"))
    assert "First test key" in alice.get("/keys").text


def test_the_set_up_link_works_once(world: World) -> None:
    link = world.link("setup")
    set_up(world.browser(), link)
    again = world.browser()
    assert again.get(link).status_code == 410
    assert "has an administrator" in again.get(link).text
    assert again.submit("/login", to=link, email="eve@example.com").status_code == 410


def test_a_set_up_link_is_dead_once_there_is_an_administrator(world: World) -> None:
    link = world.link("setup")
    world.person(ALICE, is_admin=True)
    assert world.browser().get(link).status_code == 410


def test_an_unknown_or_expired_set_up_link_says_how_to_get_another(world: World) -> None:
    link = world.link("setup", hours=1)
    with time_machine.travel(clock.now() + timedelta(hours=1, seconds=1)):
        for path in (link, "/setup/unknown", "/reset/unknown"):
            answer = world.browser().get(path)
            assert answer.status_code == 410
            assert "expired" in answer.text
    assert "prints a new set-up link" in world.browser().get("/setup/unknown").text
    assert "flask user reset" in world.browser().get("/reset/unknown").text


def test_a_reset_link_does_not_set_up_and_the_other_way_round(world: World) -> None:
    user = world.person(ALICE)
    token = world.link("reset", user).rpartition("/")[2]
    assert world.browser().get(f"/setup/{token}").status_code == 410
    token = world.link("setup").rpartition("/")[2]
    assert world.browser().get(f"/reset/{token}").status_code == 410


def test_two_who_race_through_set_up_links_make_one_administrator(world: World) -> None:
    browsers = [(world.browser(), world.link("setup")) for _ in range(4)]
    ready = threading.Barrier(len(browsers))
    statuses = []

    def race(browser: Browser, link: str, number: int) -> None:
        ready.wait()
        statuses.append(set_up(browser, link, email=f"racer{number}@example.com").status_code)

    racers = [
        threading.Thread(target=race, args=(*pair, number)) for number, pair in enumerate(browsers)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(statuses) == [303, 410, 410, 410]
    with world.bridge.database.reading() as session:
        assert session.query(User).count() == 1


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"password": "short"}, "Too short; use at least 12 characters."),
        ({"password": "x y" * 50}, "Too long; use at most 128 characters."),
        ({"password": "password1234"}, "Too easy to guess"),
        ({"password": "modelbridge1"}, "Too easy to guess"),
        ({"password": "alice@example.com"}, "Too easy to guess"),
        ({"password": ""}, "Choose a password."),
        ({"email": "alice"}, "is not an e-mail address"),
        ({"name": ""}, "Enter your name."),
        ({"name": "Al\u202eice"}, "cannot be shown"),
    ],
)
def test_a_refused_set_up_keeps_what_was_typed_and_says_what_is_wrong(
    world: World, fields: dict[str, str], complaint: str
) -> None:
    browser, link = world.browser(), world.link("setup")
    answer = set_up(browser, link, **fields)
    assert answer.status_code == 400
    assert complaint in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert PASSWORD not in answer.text
    if "email" not in fields:
        assert f'value="{ALICE}"' in answer.text
    assert set_up(browser, link).status_code == 303


def test_all_faults_of_a_form_are_named_at_once(world: World) -> None:
    answer = set_up(world.browser(), world.link("setup"), name="", email="a", password="b")
    assert answer.text.count('aria-invalid="true"') == 3


def test_a_good_pass_phrase_needs_no_digits_nor_signs(world: World) -> None:
    passwords.check_new_password("correct horse battery staple")
    passwords.check_new_password("ünïcödé wörds täste good")


@pytest.mark.parametrize("length", [12, 24, 72, 128])
def test_a_password_of_many_signs_is_judged_in_a_few_readings(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reading goes through every dictionary: 2,000 of them took a quarter of a minute."""
    readings = []
    enumerate_readings = matching.enumerate_l33t_subs

    def counted(table: dict[str, list[str]]) -> list[dict[str, str]]:
        found: list[dict[str, str]] = enumerate_readings(table)
        readings.append(len(found))
        return found

    monkeypatch.setattr(matching, "enumerate_l33t_subs", counted)
    signs = "a@4({[<3e6g9&7i1|!0o5$7+2z%x8b"
    with suppress(ValueError):
        passwords.check_new_password((signs * 5)[:length])
    assert readings
    assert max(readings) <= 32


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(world: World) -> None:
    world.person(ALICE)

    def answer_to(email: str) -> tuple[int, str]:
        answer = world.browser().log_in(email, "not the password")
        page = re.sub(r'value="[^"]*"', "", answer.text)
        return answer.status_code, page

    assert answer_to(ALICE) == answer_to("nobody@example.com")
    assert answer_to(ALICE)[0] == 401


def test_an_unknown_address_costs_as_much_work_as_a_wrong_password(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.person(ALICE)
    worked = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, *arguments: str) -> bool:
        worked.append(arguments)
        return verify(self, *arguments)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    for email in (ALICE, "nobody@example.com", "no address at all"):
        world.browser().log_in(email, "not the password")
    assert len(worked) == 3


def test_a_person_without_a_password_cannot_log_in_with_an_empty_one(world: World) -> None:
    user = world.person(ALICE)
    with world.transaction() as session:
        session.get_one(User, user.id).password_hash = None
    assert world.browser().log_in(ALICE, "").status_code == 400
    assert world.browser().log_in(ALICE, "x").status_code == 401


def test_the_address_may_be_typed_in_any_case(world: World) -> None:
    world.person(ALICE)
    assert world.browser().log_in(" Alice@EXAMPLE.com ").status_code == 303


def test_an_old_hash_is_made_anew_at_login(world: World) -> None:
    user = world.person(ALICE)
    with world.transaction() as session:
        weak = PasswordHasher(time_cost=1, memory_cost=8192).hash(PASSWORD)
        session.get_one(User, user.id).password_hash = weak
    assert world.browser().log_in(ALICE).status_code == 303
    with world.bridge.database.reading() as session:
        renewed = session.get_one(User, user.id).password_hash
    assert renewed != weak
    assert renewed is not None
    assert not passwords.is_outdated(renewed)
    assert world.browser().log_in(ALICE).status_code == 303


def test_after_ten_guesses_the_next_must_wait_but_the_owner_elsewhere_need_not(
    world: World,
) -> None:
    world.person(ALICE)
    guesser = world.browser(address="203.0.113.9")
    for _ in range(10):
        assert guesser.log_in(ALICE, "not the password").status_code == 401
    refused = guesser.log_in(ALICE)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 15
    assert "Try again in" in refused.text
    assert world.browser(address="198.51.100.7").log_in(ALICE).status_code == 303


def test_an_address_that_is_written_otherwise_is_the_same_account(world: World) -> None:
    world.person(ALICE)
    guesser = world.browser(address="203.0.113.9")
    ways = (ALICE, "alice@\uff45xample.com", "ALICE@example\u3002com", "alice@ex\uff41mple.com")
    for way in [*ways, *ways, *ways[:2]]:
        assert guesser.log_in(way, "not the password").status_code == 401
    assert guesser.log_in("alice@exam\uff50le.com").status_code == 429


def test_nobody_is_remembered_by_more_than_an_address_can_have(world: World) -> None:
    long = f"{'a' * 100_000}@example.com"
    assert world.browser().log_in(long, "not the password").status_code == 401
    throttle: LoginThrottle = world.app.extensions["modelbridge.login_throttle"]
    remembered = [*throttle._pair._counts, *throttle._account._counts, *throttle._address._counts]
    assert len(remembered) == 3
    assert max(map(len, remembered)) < 300


def test_each_further_guess_waits_twice_as_long_up_to_a_bound() -> None:
    throttle = Throttle(free=2, longest_seconds=100)
    now, waits = 1000.0, []
    for _ in range(7):
        throttle.attempt("alice", now)
        waits.append(throttle.wait("alice", now))
        now += waits[-1]
    assert waits == [0, 15, 30, 60, 100, 100, 100]
    assert throttle.wait("bob", now) == 0


def test_guesses_are_forgotten_a_quarter_of_an_hour_after_the_last_wait() -> None:
    throttle = Throttle(free=1, longest_seconds=100)
    throttle.attempt("alice", 0.0)
    assert throttle.wait("alice", 0.0) == 15
    throttle.attempt("alice", 15.0 + 15 * 60 + 1)
    assert throttle.wait("alice", 15.0 + 15 * 60 + 1) == 15


def test_a_right_password_forgets_the_accounts_guesses_and_not_the_addresss() -> None:
    throttle = LoginThrottle()
    for number in range(49):
        assert throttle.begin(f"victim{number}", "203.0.113.9") == 0
    assert throttle.begin("own", "203.0.113.9") == 0
    throttle.succeeded("own", "203.0.113.9")
    assert throttle.begin("victim", "203.0.113.9") == 0
    assert throttle.begin("victim", "203.0.113.9") > 0


def test_whoever_has_a_network_of_ipv6_addresses_is_one_guesser() -> None:
    throttle = LoginThrottle()
    for number in range(50):
        assert throttle.begin(f"victim{number}", f"2001:db8:1:2:{number:x}::9") == 0
    assert throttle.begin("another", "2001:db8:1:2:ffff::1%eth0") > 0
    assert throttle.begin("another", "2001:db8:1:3::1") == 0
    for _ in range(50):
        throttle.begin("own", "::ffff:203.0.113.9")
        throttle.succeeded("own", "203.0.113.9")
    assert throttle.begin("own", "::ffff:203.0.113.9") == 0


@pytest.mark.parametrize("throttle", [LoginThrottle(), LoginThrottle.of_codes()])
def test_guessers_from_everywhere_lock_nobody_out_of_where_they_logged_in_before(
    throttle: LoginThrottle,
) -> None:
    throttle.begin("alice", "192.0.2.1")
    throttle.succeeded("alice", "192.0.2.1")
    for number in range(200):
        throttle.begin("alice", f"198.51.100.{number}")
    assert throttle.begin("alice", "198.51.100.201") > 0
    assert throttle.begin("bob", "192.0.2.1") == 0
    for _ in range(10):
        assert throttle.begin("alice", "192.0.2.1") == 0
    assert throttle.begin("alice", "192.0.2.1") > 0, "who guesses there waits, too"


def test_hashing_that_cannot_get_a_turn_is_refused_and_not_piled_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_SLOTS", threading.BoundedSemaphore(1))
    monkeypatch.setattr(passwords, "_PATIENCE_SECONDS", 0.01)
    world.person(ALICE)
    with passwords._turn(passwords._SLOTS):
        with pytest.raises(Overloaded):
            passwords.hash_password("x")
        answer = world.browser().log_in(ALICE)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "Too many people are logging in at once" in answer.text


def test_few_wait_for_a_turn_to_hash_so_that_threads_are_left_for_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passwords, "_SLOTS", threading.BoundedSemaphore(1))
    monkeypatch.setattr(passwords, "_QUEUE", threading.BoundedSemaphore(1))
    monkeypatch.setattr(passwords, "_PATIENCE_SECONDS", 60.0)
    hashed = []
    with passwords._turn(passwords._SLOTS):
        waiter = threading.Thread(target=lambda: hashed.append(passwords.hash_password("x")))
        waiter.start()
        wait_for(lambda: passwords._QUEUE._value == 0)
        with pytest.raises(Overloaded):
            passwords.verify(None, "x")
        assert waiter.is_alive()
    waiter.join()
    assert len(hashed) == 1
    assert passwords.verify(hashed[0], "x")


def test_a_reset_link_changes_the_password_and_ends_the_other_sessions(world: World) -> None:
    user = world.person(ALICE)
    elsewhere, here = world.browser(ALICE), world.browser()
    link = world.link("reset", user)
    assert ALICE in here.get(link).text
    answer = here.submit(link, password=NEW_PASSWORD)
    assert (answer.status_code, answer.location) == (303, "/")
    assert here.is_logged_in()
    assert not elsewhere.is_logged_in()
    assert world.browser().log_in(ALICE).status_code == 401
    assert world.browser().log_in(ALICE, NEW_PASSWORD).status_code == 303


def test_a_reset_link_works_once_and_takes_its_sisters_along(world: World) -> None:
    user, bob = world.person(ALICE), world.person("bob@example.com")
    first, second, bobs = (world.link("reset", person) for person in (user, user, bob))
    assert world.browser().submit(second, password=NEW_PASSWORD).status_code == 303
    assert world.browser().get(first).status_code == 410
    assert world.browser().get(second).status_code == 410
    assert world.browser().get(bobs).status_code == 200


@pytest.mark.parametrize("change", ["password", "address", "disabled"])
def test_a_reset_link_ends_with_what_it_was_made_for(world: World, change: str) -> None:
    user = world.person(ALICE)
    world.person("root@example.com", is_admin=True)
    alice, link = world.browser(ALICE), world.link("reset", user)
    if change == "password":
        fields = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        assert alice.submit("/account", to="/account/password", **fields).status_code == 303
    elif change == "address":
        fields = {"email": "alice@example.org", "email_password": PASSWORD}
        assert alice.submit("/account", to="/account/email", **fields).status_code == 303
    else:
        root = world.browser("root@example.com")
        for action in ("disable", "enable"):
            path = f"/admin/users/{user.id}/{action}"
            assert root.submit(path).status_code == 303
    assert world.browser().get(link).status_code == 410


def test_a_refused_password_does_not_use_up_the_link(world: World) -> None:
    link = world.link("reset", world.person(ALICE, name="Alice Archer"))
    refused = world.browser().submit(link, password="alice archer")
    assert refused.status_code == 400
    assert "Too easy to guess" in refused.text
    assert world.browser().submit(link, password=NEW_PASSWORD).status_code == 303


def test_a_disabled_person_cannot_reset_their_password(world: World) -> None:
    user = world.person(ALICE)
    link = world.link("reset", user)
    with world.transaction() as session:
        session.get_one(User, user.id).disabled_at = clock.now()
    assert world.browser().get(link).status_code == 410


def test_the_database_holds_no_token_that_opens_a_link(world: World) -> None:
    token = world.link("setup").rpartition("/")[2]
    with world.bridge.database.reading() as session:
        assert token != session.query(OneTimeLink).one().token_sha256


@pytest.mark.parametrize("address", ["ops@bridge.local", "root@localhost", "a@bridge.internal"])
def test_addresses_of_a_private_network_are_addresses(address: str) -> None:
    assert users.clean_email(address.upper()) == address


def test_moments_are_told_in_the_largest_unit_that_fits() -> None:
    now = clock.now()
    told = {
        timedelta(seconds=-3): "just now",
        timedelta(seconds=-59): "59 seconds ago",
        timedelta(seconds=-61): "1 minute ago",
        timedelta(hours=-3, minutes=-59): "3 hours ago",
        timedelta(days=-1): "1 day ago",
        timedelta(days=6, hours=1): "in 6 days",
        timedelta(days=7, hours=16): "in 7 days",
        timedelta(hours=71, minutes=59): "in 3 days",
        timedelta(hours=23, minutes=59): "in 24 hours",
        timedelta(days=59): "in 59 days",
        timedelta(days=-90): "3 months ago",
        timedelta(days=800): "in 2 years",
    }
    assert {gap: distance(now + gap, now) for gap in told} == told


def test_an_address_may_break_before_its_at_and_nothing_in_it_is_markup() -> None:
    assert foldable("ada@example.com") == "ada<wbr>@example.com"
    assert foldable("<b>@<i>") == "&lt;b&gt;<wbr>@&lt;i&gt;"
    assert foldable("Search") == "Search"
