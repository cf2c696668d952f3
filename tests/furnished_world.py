"""Alice's team on a bridge where every page has something to show, and each page's address.

For tests that walk the whole URL map: `arguments` says what stands in an address for each variable
of a rule. A new page needs an entry here only if its rule has a variable that no page had before.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ledger_world import MODEL
from ledger_world import World as Ledger
from team_world import ADMIN, MEMBER, OWNER, VIEWER, TeamWorld, team_world_in, team_world_of
from werkzeug.routing import Rule

from modelbridge import clock
from modelbridge.catalog import admin
from modelbridge.identity import preferences, rotation, sessions
from modelbridge.ledger import postings
from modelbridge.money import NANOS
from modelbridge.store.tables import ApiKey, LoginSession

__all__ = ["Furnished", "furnish", "team_world_in", "team_world_of"]


@dataclass(frozen=True)
class Furnished:
    """The team's world, and the things in it: ids by what they are."""

    research: TeamWorld
    own_key: ApiKey
    team_key: ApiKey
    members_key: ApiKey
    own_call: str
    team_call: str
    invitation_id: str
    invitation_token: str
    session_handle: str

    def arguments(self, rule: Rule) -> dict[str, str]:
        """What stands for the rule's variables: things of Alice's team wherever there is one."""
        known: Mapping[str, str] = {
            "team_id": self.research.team.id,
            "user_id": self.research.people[VIEWER].id,
            "key_id": self.team_key.id,
            "call_id": self.team_call,
            "account_id": self.research.team.account_id,
            "invitation_id": self.invitation_id,
            "handle": self.session_handle,
            "month": f"{clock.now():%Y-%m}",
            "page": "quickstart",
            "path": "chat/completions",
            "action": "link",
            "token": self.invitation_token if rule.endpoint.startswith("invitations") else "x",
            "name": MODEL if "model" in rule.endpoint else "nowhere",
            "filename": "css/app.css" if rule.endpoint.startswith("assets") else "x.css",
        }
        return {name: known[name] for name in rule.arguments}


def furnish(research: TeamWorld) -> Furnished:
    """Money, models, keys, calls, an invitation, open registration; Alice is logged in once."""
    alice, world = research.people[OWNER], research.world
    own_key = world.key(alice, "Alice's own")
    team_key, members_key = research.key(OWNER, "The team's"), research.key(MEMBER, "Bob's")
    with world.transaction() as session:
        preferences.set_registration(session, "open")
        admin.add_upstream(
            session,
            name="nowhere",
            provider="openai",
            base_url="http://127.0.0.1:9/v1",
            allow_private=True,
            sealed_credential=lambda _: None,
        )
        admin.add_model(
            session,
            name=MODEL,
            targets=[("nowhere", MODEL)],
            prices={"input": "0", "output": "2"},
            free=False,
            context_window=None,
            max_output=1_000_000,
        )
        for account_id in (alice.account_id, research.team.account_id):
            postings.top_up(session, account_id, 50 * NANOS)
    payers = {key.id: str(key.account_id) for key in (own_key, team_key, members_key)}
    ledger = Ledger(world.bridge, alice.account_id, alice.id, payers)
    own_call, team_call = (ledger.spend(key.id, 1_000).call.id for key in (own_key, team_key))
    new = research.invite("dora@example.com", by=ADMIN)
    research.browser(OWNER)
    with world.transaction() as session:
        rotation.rotate(session, session.get_one(ApiKey, team_key.id), 24)
        row = session.query(LoginSession).filter_by(user_id=alice.id).one()
        handle = sessions.handle(row)
    return Furnished(
        research, own_key, team_key, members_key, own_call, team_call, new.row.id, new.token, handle
    )
