"""Accounts: where money sits."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.ledger.windows import window_start
from modelbridge.store.tables import Account, Spending


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account's money at one moment, in nano-AUD.

    `spent_nanos` is what the account spent in the present window of its own limit, or ever if
    the limit has no window.
    """

    account_id: str
    balance_nanos: int
    held_nanos: int
    limit_nanos: int | None
    limit_window: str
    spent_nanos: int
    time_zone: str

    @property
    def available_nanos(self) -> int:
        """What no open hold has reserved."""
        return self.balance_nanos - self.held_nanos


def open_account(session: Session, kind: str, time_zone: str = "Australia/Sydney") -> Account:
    """A new, empty account for a `user` or a `team`."""
    account = Account(id=ids.new_id("acct"), kind=kind, time_zone=time_zone, created_at=clock.now())
    session.add(account)
    session.flush()
    return account


def account_view(session: Session, account_id: str) -> AccountView:
    """The account's money now. Raises LookupError for an unknown id."""
    account = session.get(Account, account_id, populate_existing=True)
    if account is None:
        raise LookupError(f"no account {account_id}")
    start = window_start(account.limit_window, account.time_zone, clock.now())
    spending = session.get(Spending, (account_id, start), populate_existing=True)
    return AccountView(
        account_id=account.id,
        balance_nanos=account.balance_nanos,
        held_nanos=account.held_nanos,
        limit_nanos=account.limit_nanos,
        limit_window=account.limit_window,
        spent_nanos=spending.spent_nanos if spending else 0,
        time_zone=account.time_zone,
    )
