"""Administrators and money: top-ups, adjustments, refunds, and calls whose cost nobody saw."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select, true
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.dashboard import access, reckoning
from modelbridge.dashboard.admin_money_forms import AdjustmentForm, PostingForm, RefundForm
from modelbridge.dashboard.billing import KINDS, details_of, read_sequence
from modelbridge.dashboard.filters import aud, moment
from modelbridge.dashboard.paging import place_of
from modelbridge.dashboard.services import bridge
from modelbridge.identity import auditlog
from modelbridge.ledger import accounts, history, postings
from modelbridge.ledger.accounts import AccountView
from modelbridge.money import format_amount
from modelbridge.store.tables import Account, BalanceTransaction, Call, Hold, Team, User

pages = Blueprint("admin_money", __name__, url_prefix="/admin/money")

FLAGGED_ROWS = 50
_NOT_SEEN = "The outcome of this call was not seen."


@dataclass(frozen=True, slots=True)
class Payer:
    """An account, what people call it, and its money."""

    id: str
    label: str
    view: AccountView


@pages.before_request
def require_admin() -> None:
    """Only administrators get further; to everybody else these pages do not exist."""
    if not access.the_user().is_admin:
        abort(404)


@pages.get("/accounts/<account_id>")
def account(account_id: str) -> ResponseReturnValue:
    """An account's money and its balance transactions."""
    only_payments = request.args.get("show") == "payments"
    with bridge().database.reading() as session:
        payer = _payer(session, account_id)
        page = history.page(session, payer.id, read_sequence(), payments_only=only_payments)
        details = details_of(session, page.transactions)
    return render_template(
        "admin_money/account.html",
        payer=payer,
        page=page,
        details=details,
        kinds=KINDS,
        only_payments=only_payments,
    )


@pages.route("/accounts/<account_id>/top-up", methods=["GET", "POST"])
def top_up(account_id: str) -> ResponseReturnValue:
    """Credits the account, after showing what its balance will be."""
    return _post(account_id, PostingForm(), "top_up", postings.top_up)


@pages.route("/accounts/<account_id>/adjust", methods=["GET", "POST"])
def adjust(account_id: str) -> ResponseReturnValue:
    """Adds or takes money, to correct a mistake."""
    return _post(account_id, AdjustmentForm(), "adjustment", postings.adjust)


@pages.get("/receipts/<call_id>")
def receipt(call_id: str) -> ResponseReturnValue:
    """Anybody's receipt."""
    with bridge().database.reading() as session:
        call = session.get(Call, call_id) or abort(404)
        found = reckoning.receipt_of(session, call)
        payer = _payer(session, call.account_id) if call.account_id else None
    rate = reckoning.aud_per_usd(found.rate) if found.rate else None
    return render_template("admin_money/receipt.html", receipt=found, payer=payer, rate=rate)


@pages.route("/receipts/<call_id>/refund", methods=["GET", "POST"])
def refund(call_id: str) -> ResponseReturnValue:
    """Gives back a charge, or a part of it; never more than it was."""
    with bridge().database.reading() as session:
        call = session.get(Call, call_id) or abort(404)
        found = reckoning.receipt_of(session, call)
        if found.charge is None:
            abort(404)
        payer = _payer(session, found.charge.account_id)
    form = RefundForm()
    if request.method == "GET" and found.refundable_nanos:
        form.amount.data = format_amount(found.refundable_nanos)
    if form.validate_on_submit():
        try:
            given = _refund(found.charge, form.amount_nanos, form.note.data.strip())
        except ValueError as error:
            form.blame(error)
        else:
            flash(f"{aud(given.amount_nanos)} went back to {payer.label}.", "success")
            return redirect(url_for("admin_money.receipt", call_id=call_id), 303)
    page = render_template("admin_money/refund.html", form=form, receipt=found, payer=payer)
    return page, 400 if form.errors else 200


@pages.route("/receipts/<call_id>/refund-all", methods=["GET", "POST"])
def refund_all(call_id: str) -> ResponseReturnValue:
    """One click in the list of flagged calls: what is left of the charge goes back."""
    if request.method != "POST":
        return redirect(url_for("admin_money.refund", call_id=call_id))
    with bridge().database.reading() as session:
        found = reckoning.receipt_of(session, session.get(Call, call_id) or abort(404))
    try:
        given = _refund(found.charge or abort(404), found.refundable_nanos, _NOT_SEEN)
    except ValueError:
        flash("Nothing is left of this charge: it was given back before.", "warning")
    else:
        flash(f"{aud(given.amount_nanos)} of the call went back.", "success")
    return redirect(url_for("admin_money.flagged"), 303)


@pages.get("/flagged")
def flagged() -> ResponseReturnValue:
    """Calls that were settled from evidence, or whose outcome is still unknown."""
    before = place_of(request.args.get("before", ""))
    query = select(Hold).where(Hold.flagged == true())
    if before is not None:
        query = query.where(Hold.admitted_at < clock.from_micros(before))
    query = query.order_by(Hold.admitted_at.desc()).limit(FLAGGED_ROWS + 1)
    with bridge().database.reading() as session:
        holds = session.scalars(query).all()
        shown = holds[:FLAGGED_ROWS]
        labels = _labels(session, {hold.account_id for hold in shown})
        left = _left(session, [hold.id for hold in shown])
    older = clock.to_micros(shown[-1].admitted_at) if len(holds) > FLAGGED_ROWS else None
    return render_template(
        "admin_money/flagged.html", holds=shown, labels=labels, left=left, older=older
    )


def _post(
    account_id: str,
    form: PostingForm,
    kind: str,
    posting: Callable[..., BalanceTransaction],
) -> ResponseReturnValue:
    """The form, what it will do, then the posting."""
    with bridge().database.reading() as session:
        payer = _payer(session, account_id)
    asks = False
    if form.validate_on_submit():
        wrong = _wrong_before_asking(payer, form, kind)
        if form.is_confirmed:
            try:
                return _posted(payer, form, kind, posting)
            except ValueError as error:
                form.blame(error)
        elif wrong:
            form.blame(ValueError(wrong))
        else:
            asks = True
            form.confirmed.data = form.wish
    page = render_template(
        "admin_money/post.html", form=form, payer=payer, kind=kind, words=KINDS[kind], asks=asks
    )
    return page, 400 if form.errors else 200


def _wrong_before_asking(payer: Payer, form: PostingForm, kind: str) -> str | None:
    """Why it need not even be confirmed, as "field: message"; the posting itself checks again."""
    if payer.view.available_nanos + form.amount_nanos < 0:
        return "amount: the account does not have that much available"
    with bridge().database.reading() as session:
        earlier = _earlier(session, form.why["reference"])
    if earlier is None:
        return None
    when = moment(earlier.created_at)
    if (earlier.account_id, earlier.kind) == (payer.id, kind) and (
        earlier.amount_nanos == form.amount_nanos
    ):
        return (
            f"reference: it was posted on {when}, so nothing would be added: "
            f"the same reference twice is one {KINDS[kind].lower()}"
        )
    return f"reference: it was already used on {when} for {aud(earlier.amount_nanos)}"


def _earlier(session: Session, reference: str | None) -> BalanceTransaction | None:
    """The posting with that reference."""
    query = select(BalanceTransaction).where(BalanceTransaction.reference == reference)
    return session.scalar(query) if reference is not None else None


def _posted(
    payer: Payer, form: PostingForm, kind: str, posting: Callable[..., BalanceTransaction]
) -> ResponseReturnValue:
    """Raises ValueError naming the field."""
    user, why = access.the_user(), form.why
    with bridge().database.transaction() as session:
        is_repeated = _earlier(session, why["reference"]) is not None
        row = posting(session, payer.id, form.amount_nanos, actor_id=user.id, **why)
        if not is_repeated:
            _note(session, f"account.{kind}", payer.id, payer.label, row)
    if is_repeated:
        flash(
            f"The reference “{row.reference}” was posted before, so nothing was added this time: "
            f"the same reference twice is one {KINDS[kind].lower()}.",
            "warning",
        )
    else:
        direction = "to" if row.amount_nanos > 0 else "from"
        verb = "went" if row.amount_nanos > 0 else "was taken"
        flash(
            f"{aud(abs(row.amount_nanos))} {verb} {direction} {payer.label}: "
            f"the balance is {aud(row.balance_after_nanos)}.",
            "success",
        )
    return redirect(url_for("admin_money.account", account_id=payer.id), 303)


def _refund(charge: BalanceTransaction, amount_nanos: int, note: str) -> BalanceTransaction:
    """Raises ValueError above what is left of the charge."""
    user = access.the_user()
    with bridge().database.transaction() as session:
        given = postings.refund(session, charge.id, amount_nanos, note=note, actor_id=user.id)
        label = _labels(session, {charge.account_id})[charge.account_id]
        _note(session, "account.refund", charge.account_id, label, given)
    return given


def _note(
    session: Session, action: str, account_id: str, label: str, row: BalanceTransaction
) -> None:
    auditlog.record(
        session,
        actor=access.the_user(),
        action=action,
        subject_kind="account",
        subject_id=account_id,
        subject=label,
        details={
            "amount": format_amount(row.amount_nanos),
            "balance": format_amount(row.balance_after_nanos),
            "reference": row.reference,
            "note": row.note,
            "transaction": row.id,
        },
        address=request.remote_addr or "",
    )


def _payer(session: Session, account_id: str) -> Payer:
    """Aborts with 404 for an account that doesn't exist."""
    if session.get(Account, account_id) is None:
        abort(404)
    label = _labels(session, {account_id})[account_id]
    return Payer(account_id, label, accounts.account_view(session, account_id))


def _labels(session: Session, account_ids: set[str]) -> dict[str, str]:
    """What people call accounts: a person's address, a team's name; else the id."""
    rows = session.execute(
        select(Account.id, func.coalesce(User.email, Team.name, Account.id))
        .outerjoin(User, User.account_id == Account.id)
        .outerjoin(Team, Team.account_id == Account.id)
        .where(Account.id.in_(account_ids))
    )
    return {account_id: label for account_id, label in rows}


def _left(session: Session, hold_ids: list[str]) -> dict[str, int]:
    """What is left of the charges of these holds after refunds, in nano-AUD, by hold."""
    charges = session.execute(
        select(
            BalanceTransaction.id, BalanceTransaction.hold_id, BalanceTransaction.amount_nanos
        ).where(BalanceTransaction.hold_id.in_(hold_ids))
    ).all()
    given = session.execute(
        select(BalanceTransaction.refunds_id, func.sum(BalanceTransaction.amount_nanos))
        .where(BalanceTransaction.refunds_id.in_([charge.id for charge in charges]))
        .group_by(BalanceTransaction.refunds_id)
    )
    back = {charge_id: int(amount) for charge_id, amount in given}
    return {row.hold_id: -row.amount_nanos - back.get(row.id, 0) for row in charges}
