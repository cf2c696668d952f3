"""Every endpoint, with every method, as everybody: held against the table in docs/permissions.md.

The walk is on things of Alice's team. Nothing that it posts stays: every transaction is undone, so
that each request finds the same bridge. A new endpoint must be listed in the table; a new kind of
variable in an address needs a line in furnished_world.py.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dashboard_world import Browser
from furnished_world import Furnished, furnish
from sqlalchemy.orm import Session
from team_world import BY_ROLE, MEMBER, OPERATOR, OWNER, PEOPLE, team_world_in
from werkzeug.routing import Rule
from werkzeug.wrappers import Response

from modelbridge.identity.permissions import PERMISSIONS, ROLES, allowed

NOBODY = "nobody"
EVERYBODY = frozenset({*PEOPLE, NOBODY})
PAGE = (Path(__file__).resolve().parents[1] / "docs" / "permissions.md").read_text("utf-8")
TABLE: dict[str, str] = dict(re.findall(r"^\| `(\w+\.\w+)` \| ([^|]+?) \|$", PAGE, re.MULTILINE))
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_PERMISSION = re.compile(r"`([a-z.]+)`")


class _UndoneError(Exception):
    """Raised at the end of every transaction."""


# Transactions that were opened, one after the other.
OPENED: list[str] = []


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    with team_world_in(tmp_path_factory.mktemp("walk")) as research:
        yield furnish(research)


@pytest.fixture(scope="module")
def browsers(furnished: Furnished) -> Iterator[dict[str, Browser]]:
    """Everybody's browser. From here on nothing is written any more, and forms need no token."""
    research = furnished.research
    found = {name: research.browser(name) for name in PEOPLE}
    found[NOBODY] = research.world.browser()
    database = research.world.bridge.database
    original = database.transaction

    @contextmanager
    def undone() -> Iterator[Session]:
        OPENED.append("a transaction")
        try:
            with original() as session:
                yield session
                session.flush()
                session.expunge_all()  # what was read stays readable, as after a commit
                raise _UndoneError
        except _UndoneError:
            pass

    research.world.app.config["WTF_CSRF_ENABLED"] = False
    database.transaction = undone
    yield found
    database.transaction = original


def members_with(permission: str) -> frozenset[str]:
    return frozenset(name for name, role in BY_ROLE.items() if allowed(role, permission))


def places(furnished: Furnished, rule: Rule) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """The addresses to try (what stands in the path and the query), and who may open each."""
    who, arguments = TABLE[rule.endpoint], furnished.arguments(rule)
    research = furnished.research
    named = _PERMISSION.search(who)
    members = members_with(named[1]) if named else frozenset()
    if who in ("everyone", "a key"):
        yield arguments, EVERYBODY
    elif who == "whoever is logged in":
        yield arguments, frozenset(PEOPLE)
    elif who == "administrators":
        yield arguments, frozenset({OPERATOR})
    elif who == "whose it is" and rule.endpoint.startswith("playground"):
        yield {"key": furnished.own_key.id}, frozenset({OWNER})
        yield {"key": furnished.members_key.id}, frozenset({MEMBER})
    elif who == "whose it is":
        yield arguments, frozenset({OWNER})
    elif who.startswith("whose it is, or"):
        yield {**arguments, "key_id": furnished.own_key.id}, frozenset({OWNER})
        yield {**arguments, "key_id": furnished.team_key.id}, members | {OWNER}
        yield {**arguments, "key_id": furnished.members_key.id}, members | {MEMBER}
        yield {**arguments, "key_id": "key_unknown"}, frozenset()
    elif who.startswith("own, or") and "call_id" in rule.arguments:
        yield {"call_id": furnished.own_call}, frozenset({OWNER})
        yield {"call_id": furnished.team_call}, members
    elif who.startswith("own, or"):
        yield arguments, frozenset(PEOPLE)
        yield {**arguments, "team": research.team.id}, members
        yield {**arguments, "team": "team_unknown"}, frozenset()
    else:
        assert named is not None, f"docs/permissions.md doesn't say who may open {rule.endpoint}"
        yield arguments, members
        if "team_id" in rule.arguments:
            yield {**arguments, "team_id": "team_unknown"}, frozenset()


def outcome(answer: Response) -> str:
    """What an answer means: let in, sent to the login, told that there is nothing, or broken."""
    if answer.status_code == 404:
        return "404"
    if answer.status_code == 303 and (answer.location or "").startswith("/login?next="):
        return "login"
    if answer.status_code == 303 and answer.location == "/login":
        return "login"
    if answer.status_code >= 500:
        return f"broken: {answer.status_code}"
    return "let in"


def expected(name: str, may: frozenset[str]) -> str:
    if name in may:
        return "let in"
    return "login" if name == NOBODY else "404"


def endpoints() -> list[str]:
    return sorted(TABLE)


def rules_of(furnished: Furnished, endpoint: str) -> list[Rule]:
    return list(furnished.research.world.app.url_map.iter_rules(endpoint))


def test_every_endpoint_is_in_the_table_and_nothing_else(furnished: Furnished) -> None:
    known = {rule.endpoint for rule in furnished.research.world.app.url_map.iter_rules()}
    assert known - set(TABLE) == set(), "list these in docs/permissions.md"
    assert set(TABLE) - known == set(), "docs/permissions.md lists what doesn't exist"


@pytest.mark.parametrize("endpoint", endpoints())
def test_the_table_is_true(
    furnished: Furnished, browsers: dict[str, Browser], endpoint: str
) -> None:
    wrong = []
    for rule in rules_of(furnished, endpoint):
        for values, may in places(furnished, rule):
            with furnished.research.world.app.test_request_context():
                path = furnished.research.world.app.url_for(endpoint, **values)
            for name, browser in browsers.items():
                for method in METHODS:
                    wrong += problems(
                        browser, rule, method, path, expected(name, may), values, name
                    )
    assert wrong == []


def problems(
    browser: Browser,
    rule: Rule,
    method: str,
    path: str,
    wanted: str,
    values: dict[str, Any],
    name: str,
) -> list[str]:
    """What is wrong with the answer, in words; an empty list if nothing is."""
    body: dict[str, Any] = (
        {"json": {"key": values["key"]}} if rule.endpoint == "playground.call" else {}
    )
    OPENED.clear()
    with browser.copy().client.open(path, method=method, **body) as answer:
        if method not in (rule.methods or ()):
            right = answer.status_code == 405
            return [] if right else [f"{name} {method} {path}: {answer.status_code}, not 405"]
        if TABLE[rule.endpoint] == "a key":
            right = answer.status_code == 401
            return [] if right else [f"{name} {method} {path}: {answer.status_code}, not 401"]
        if rule.endpoint.endswith(".static"):
            right = answer.status_code in (200, 404)
            return [] if right else [f"{name} {method} {path}: {answer.status_code}"]
        got = outcome(answer)
    if OPENED and method != "POST":
        return [f"{name} {method} {path} wrote to the database"]
    if rule.endpoint == "session.logout" and wanted == "let in":
        wanted = "login"
    return [] if got == wanted else [f"{name} {method} {path}: {got}, not {wanted}"]


def test_the_walk_left_no_trace(furnished: Furnished, browsers: dict[str, Browser]) -> None:
    research = furnished.research
    assert {name: research.role(name) for name in BY_ROLE} == BY_ROLE
    assert research.fresh_key(furnished.team_key).revoked_at is None
    assert browsers[OWNER].is_logged_in()


def test_the_roles_in_the_table_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `([a-z.]+)` \| (\w+) \| (\w+) \| (\w+) \| (\w+) \|", PAGE, re.MULTILINE)
    written = {
        permission: frozenset(role for role, says in zip(ROLES, row, strict=True) if says == "yes")
        for permission, *row in rows
    }
    assert written == PERMISSIONS
    assert {says for _, *row in rows for says in row} <= {"yes", "no"}


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_whoever_may_more_may_what_others_may(permission: str) -> None:
    may = [allowed(role, permission) for role in ROLES]
    assert may == sorted(may, reverse=True)
    assert not allowed(None, permission)
    assert not allowed("administrator", permission)
