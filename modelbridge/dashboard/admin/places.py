"""Teams and accounts, listed."""

from flask import render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select

from modelbridge.dashboard.admin.guard import PAGE_SIZE, page_of, pages, search_words
from modelbridge.dashboard.services import bridge
from modelbridge.ledger import accounts
from modelbridge.store.tables import Account, ApiKey, Membership, Team, User


@pages.get("/teams", endpoint="teams")
def list_teams() -> ResponseReturnValue:
    """Every team with its owners, 50 a page."""
    words, after = search_words(), request.args.get("after", "")
    found = select(Team).where(Team.name_key > after).order_by(Team.name_key)
    if words:
        found = found.where(Team.name.icontains(words, autoescape=True))
    with bridge().database.reading() as session:
        rows, last = page_of(list(session.scalars(found.limit(PAGE_SIZE + 1))))
        members: dict[str, list[Membership]] = {row.id: [] for row in rows}
        for one in session.scalars(select(Membership).where(Membership.team_id.in_(members))):
            members[one.team_id].append(one)
        counted = select(ApiKey.account_id, func.count()).where(
            ApiKey.revoked_at.is_(None), ApiKey.account_id.in_([row.account_id for row in rows])
        )
        keys = {row[0]: row[1] for row in session.execute(counted.group_by(ApiKey.account_id))}
    return render_template(
        "admin/teams.html",
        rows=rows,
        members=members,
        keys=keys,
        words=words,
        after=last and last.name_key,
    )


@pages.get("/accounts", endpoint="accounts")
def list_accounts() -> ResponseReturnValue:
    """Every account with its money, by the name of whose it is, 50 a page."""
    words, after = search_words(), request.args.get("after", "")
    label = func.coalesce(User.email, Team.name_key, Account.id)
    found = (
        select(Account.id, Account.kind, func.coalesce(User.email, Team.name), label)
        .outerjoin(User, User.account_id == Account.id)
        .outerjoin(Team, Team.account_id == Account.id)
        .where(label > after)
        .order_by(label)
        .limit(PAGE_SIZE + 1)
    )
    if words:
        found = found.where(label.icontains(words, autoescape=True))
    with bridge().database.reading() as session:
        rows, last = page_of(list(session.execute(found)))
        lines = [
            (kind, name, accounts.account_view(session, account_id))
            for account_id, kind, name, _ in rows
        ]
    return render_template("admin/accounts.html", rows=lines, words=words, after=last and last[3])
