"""Postings that people make: top-ups, adjustments, refunds. Usage is posted by holds.py."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.money import NANOS, format_amount
from modelbridge.store.tables import Account, BalanceTransaction

MOST_NANOS = 100_000_000 * NANOS


def top_up(
    session: Session,
    account_id: str,
    amount_nanos: int,
    *,
    reference: str | None = None,
    note: str = "",
    actor_id: str | None = None,
) -> BalanceTransaction:
    """Credit an account; the same reference twice is one credit, and the first is returned.

    Raises ValueError for an amount that is not above zero or is beyond AUD 100 million, and for
    a reference that was used for something else.
    """
    if not 0 < amount_nanos <= MOST_NANOS:
        raise ValueError("amount: a top-up is more than 0 and at most 100,000,000 AUD")
    return _post(session, account_id, "top_up", amount_nanos, reference, note, actor_id)


def adjust(
    session: Session,
    account_id: str,
    amount_nanos: int,
    *,
    reference: str | None = None,
    note: str = "",
    actor_id: str | None = None,
) -> BalanceTransaction:
    """Add or take money, say to correct a mistake. Raises ValueError, also if it is not there."""
    if amount_nanos == 0 or abs(amount_nanos) > MOST_NANOS:
        raise ValueError("amount: an adjustment is not 0 and at most 100,000,000 AUD either way")
    return _post(session, account_id, "adjustment", amount_nanos, reference, note, actor_id)


def refund(
    session: Session,
    usage_id: str,
    amount_nanos: int,
    *,
    note: str = "",
    actor_id: str | None = None,
) -> BalanceTransaction:
    """Give back a charge or a part of it. Raises ValueError above what is left of the charge."""
    usage = session.scalar(select(BalanceTransaction).where(BalanceTransaction.id == usage_id))
    if usage is None or usage.kind != "usage":
        raise ValueError("refund: there is no such charge")
    given = session.scalar(
        select(func.coalesce(func.sum(BalanceTransaction.amount_nanos), 0)).where(
            BalanceTransaction.refunds_id == usage_id
        )
    )
    left = -usage.amount_nanos - int(given or 0)
    if not 0 < amount_nanos <= left:
        raise ValueError(
            f"amount: at most {format_amount(left)} AUD of this charge can be given back"
        )
    return _post(
        session, usage.account_id, "refund", amount_nanos, None, note, actor_id, refunds_id=usage_id
    )


def _post(
    session: Session,
    account_id: str,
    kind: str,
    amount_nanos: int,
    reference: str | None,
    note: str,
    actor_id: str | None,
    refunds_id: str | None = None,
) -> BalanceTransaction:
    if reference is not None:
        earlier = session.scalar(
            select(BalanceTransaction).where(BalanceTransaction.reference == reference)
        )
        if earlier is not None:
            return _same(earlier, account_id, kind, amount_nanos)
    changed = session.execute(
        update(Account)
        .where(
            Account.id == account_id,
            Account.balance_nanos - Account.held_nanos + amount_nanos >= 0,
        )
        .values(balance_nanos=Account.balance_nanos + amount_nanos)
        .returning(Account.balance_nanos)
    ).scalar()
    if changed is None:
        raise ValueError("amount: the account does not have that much available")
    posting = BalanceTransaction(
        id=ids.new_id("txn"),
        account_id=account_id,
        kind=kind,
        amount_nanos=amount_nanos,
        balance_after_nanos=changed,
        created_at=clock.now(),
        reference=reference,
        note=note,
        actor_id=actor_id,
        refunds_id=refunds_id,
    )
    session.add(posting)
    session.flush()
    return posting


def _same(
    earlier: BalanceTransaction, account_id: str, kind: str, amount_nanos: int
) -> BalanceTransaction:
    if (earlier.account_id, earlier.kind, earlier.amount_nanos) != (account_id, kind, amount_nanos):
        raise ValueError(
            f"reference: {earlier.reference!r} was already used on {earlier.created_at:%Y-%m-%d} "
            f"for another posting of {format_amount(earlier.amount_nanos)} AUD"
        )
    return earlier
