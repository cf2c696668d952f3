"""A data folder with something in every table of a revision of the schema."""

from datetime import timedelta
from pathlib import Path

from hostile import HostileUpstream, reply
from people import Person, TestBridge, serving
from test_migrations import tables

from modelbridge import clock, config, ids
from modelbridge.factory import Bridge
from modelbridge.identity import (
    auditlog,
    invitations,
    links,
    permissions,
    preferences,
    rotation,
    second_step,
    sessions,
    teams,
    users,
)  # fmt: skip
from modelbridge.ledger import postings
from modelbridge.operations.alerts import book
from modelbridge.operations.alerts.conditions import Condition
from modelbridge.store import migrate
from modelbridge.store.tables import ApiKey, BalanceTransaction, BooksCheck, Feedback, Milestone

CALLS = 6


def furnished(folder: Path, upstream: HostileUpstream, revision: str) -> dict[str, int]:
    """The folder of a bridge of that revision, stopped; how many rows each table has, none 0."""
    with serving(folder) as bridge:
        bridge.upstream("hostile", upstream.base_url)
        bridge.model("gpt-test")
        alice = bridge.person("alice")
        team = bridge.team("Acme", alice)
        _spend(bridge, alice, team, upstream)
        _people(bridge, alice)
        bridge.check_books()
    again = Bridge(config.load({"MODELBRIDGE_DATA_DIR": str(folder)}))
    migrate.downgrade(again.database.engine, revision)
    again.close()
    found = tables(folder / "modelbridge.db")
    assert all(found.values()), found
    return found


def _spend(bridge: TestBridge, alice: Person, team: str, upstream: HostileUpstream) -> None:
    """Calls of every kind: plain, streamed, named, a team's, given back, above the hold."""
    key, teams_key = alice.key(limit="5"), bridge.key(account_id=team, user_id=alice.id)
    for one in (key, key, teams_key):
        assert one.chat().status_code == 200
    assert key.stream().content
    assert key.chat(headers={"Idempotency-Key": "once"}).status_code == 200
    upstream.will(reply(completion_tokens=100_000, obey_maximum=False))
    assert key.chat(max_tokens=20).status_code == 200
    upstream.reset()
    bridge.settle_down()
    charge = next(row for row in bridge.rows(BalanceTransaction) if row.kind == "usage")
    with bridge.database.transaction() as session:
        postings.refund(session, charge.id, 1, note="", actor_id=alice.id)
        postings.adjust(session, team, -1, note="A mistake", actor_id=alice.id)


def _people(bridge: TestBridge, alice: Person) -> None:
    """Sessions, links, invitations, a second step, settings, and what is told and noted."""
    now = clock.now()
    with bridge.database.transaction() as session:
        user, team = users.get_user(session, alice.id), teams.find_team(session, "Acme")
        assert user is not None
        assert team is not None
        member = permissions.membership(session, user.id, team.id)
        assert member is not None
        invitations.invite(session, member, email="dora@example.com", role="member")
        sessions.start(session, user, address="192.0.2.1", user_agent="A browser")
        links.new_link(session, "reset", user.id, 24)
        second_step.new_recovery_codes(session, user)
        preferences.set_registration(session, "open")
        rotation.rotate(session, session.query(ApiKey).first() or ApiKey(), 24)
        auditlog.record(session, actor=user, action="key.rotate", subject_kind="key",
                        subject_id="key_1", subject="A key")  # fmt: skip
        book.raise_one(session, Condition("low_balance", "x", "alice", "It is low.", "Top it up."))
        session.add(Feedback(id=ids.new_id("fb"), page="quickstart", helpful=True,
                             user_id=user.id, created_at=now))  # fmt: skip
        session.merge(Milestone(name="first_start", reached_at=now - timedelta(days=40)))
        session.add(BooksCheck(id=ids.new_id("bc"), at=now, ok=True, problems=[], counts={},
                               duration_micros=1))  # fmt: skip
