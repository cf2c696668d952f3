"""What stands between an empty bridge and the first call, and what to type for it."""

from dataclasses import dataclass

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.dashboard import examples
from modelbridge.dashboard.examples import Example
from modelbridge.dashboard.scope import Scope
from modelbridge.dashboard.services import bridge, catalog
from modelbridge.identity import permissions
from modelbridge.ledger import accounts
from modelbridge.store.tables import ApiKey, Call

_SECRET = "$OPENAI_API_KEY"  # noqa: S105  the variable's name: a key is shown only once
_MODEL = "claude-sonnet-4-6"


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """What is there already. `command` is a first call to copy; it needs the key in a variable.

    `key` is the newest one that works, of the visitor's if they see only their own.
    """

    has_models: bool
    has_money: bool
    key: ApiKey | None
    has_called: bool
    command: Example

    @property
    def is_free(self) -> bool:
        """Whether the key is a test key: it needs neither a provider nor money."""
        return self.key is not None and self.key.mode == "test"


def has_called(session: Session, account_id: str) -> bool:
    """Whether any call was ever made that this account stands for, a test key's included."""
    return bool(session.scalar(select(exists().where(Call.account_id == account_id))))


def first_steps(session: Session, scope: Scope, user_id: str) -> FirstSteps:
    """How far this account has come."""
    key = _newest_key(session, scope, user_id)
    offered = catalog(session)
    model = examples.model_for(offered, key) if key else None
    return FirstSteps(
        has_models=bool(offered.names()),
        has_money=accounts.account_view(session, scope.account_id).balance_nanos > 0,
        key=key,
        has_called=has_called(session, scope.account_id),
        command=_command(model or examples.liked(offered.names()) or _MODEL),
    )


def _command(model: str) -> Example:
    public_url = bridge().settings.public_url
    return next(
        example
        for example in examples.first_calls(public_url, _SECRET, model)
        if example.element_id == "curl"
    )


def _newest_key(session: Session, scope: Scope, user_id: str) -> ApiKey | None:
    now = clock.now()
    query = (
        select(ApiKey)
        .where(
            ApiKey.account_id == scope.account_id,
            ApiKey.revoked_at.is_(None),
            ApiKey.expires_at.is_(None) | (ApiKey.expires_at > now),
        )
        .order_by(ApiKey.created_at.desc())
        .limit(1)
    )
    if not scope.may(permissions.KEYS_ALL):
        query = query.where(ApiKey.user_id == user_id)
    return session.scalar(query)
