"""Alice's team and everybody around it, as pages show them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboard_world import Browser, World, world_in

from modelbridge.identity import invitations, permissions, teams
from modelbridge.identity.invitations import NewInvitation
from modelbridge.identity.permissions import ROLES
from modelbridge.ledger import accounts
from modelbridge.store.tables import ApiKey, Membership, Team, User

OWNER, ADMIN, MEMBER, VIEWER = "alice", "amy", "bob", "vera"
OUTSIDER, OPERATOR = "charlie", "olga"
BY_ROLE = {OWNER: "owner", ADMIN: "admin", MEMBER: "member", VIEWER: "viewer"}
PEOPLE = (*BY_ROLE, OUTSIDER, OPERATOR)


@dataclass
class TeamWorld:
    """The bridge, Alice's team "Research", and its people by their first names."""

    world: World
    team: Team
    people: dict[str, User]

    @property
    def path(self) -> str:
        return f"/teams/{self.team.id}"

    def browser(self, name: str) -> Browser:
        """A new browser in which that person is logged in."""
        return self.world.browser(self.people[name].email)

    def key(self, name: str, key_name: str = "", **fields: Any) -> ApiKey:
        """A key of the team, made by that person."""
        wanted = {"account_id": self.team.account_id, **fields}
        return self.world.key(self.people[name], key_name or f"{name}'s key", **wanted)

    def role(self, name: str) -> str | None:
        with self.world.bridge.database.reading() as session:
            found = permissions.membership(session, self.people[name].id, self.team.id)
        return found.role if found else None

    def fresh_key(self, key: ApiKey) -> ApiKey:
        with self.world.bridge.database.reading() as session:
            found: ApiKey = session.get_one(ApiKey, key.id)
            return found

    def invite(self, email: str, role: str = "member", by: str = OWNER) -> NewInvitation:
        with self.world.transaction() as session:
            inviter = session.get_one(Membership, (self.team.id, self.people[by].id))
            return invitations.invite(session, inviter, email=email, role=role)

    def member_path(self, name: str, page: str) -> str:
        return f"{self.path}/members/{self.people[name].id}/{page}"


@contextmanager
def team_world_in(data_dir: Path, **environ: str) -> Iterator[TeamWorld]:
    """A new bridge with the team on it."""
    with world_in(data_dir, **environ) as world:
        yield team_world_of(world)


def team_world_of(world: World) -> TeamWorld:
    """The team, made on that bridge."""
    people = {
        name: world.person(f"{name}@example.com", name=name.title(), is_admin=name == OPERATOR)
        for name in PEOPLE
    }
    with world.transaction() as session:
        account = accounts.open_account(session, "team")
        owner = session.get_one(User, people[OWNER].id)
        team = teams.create_team(session, name="Research", owner=owner, account_id=account.id)
        for name, role in BY_ROLE.items():
            teams.add_member(session, team, session.get_one(User, people[name].id), role)
        session.refresh(team)
    assert tuple(BY_ROLE.values()) == ROLES
    return TeamWorld(world, team, people)
