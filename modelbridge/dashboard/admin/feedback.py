"""What people thought of the documentation."""

from flask import render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select

from modelbridge import clock
from modelbridge.dashboard.admin.guard import PAGE_SIZE, page_of, pages
from modelbridge.dashboard.paging import place_of
from modelbridge.dashboard.services import bridge
from modelbridge.store.tables import Feedback, User


@pages.get("/feedback", endpoint="feedback")
def index() -> ResponseReturnValue:
    """The verdict on each page, and the answers, newest first."""
    before = place_of(request.args.get("before", ""))
    found = (
        select(Feedback, User.email)
        .outerjoin(User, User.id == Feedback.user_id)
        .order_by(Feedback.created_at.desc(), Feedback.id.desc())
        .limit(PAGE_SIZE + 1)
    )
    if before is not None:
        found = found.where(Feedback.created_at < clock.from_micros(before))
    verdicts = (
        select(
            Feedback.page,
            func.count().filter(Feedback.helpful),
            func.count().filter(~Feedback.helpful),
        )
        .group_by(Feedback.page)
        .order_by(Feedback.page)
    )
    with bridge().database.reading() as session:
        rows, last = page_of(list(session.execute(found)))
        pages_judged = list(session.execute(verdicts))
    next_before = clock.to_micros(last[0].created_at) if last else None
    return render_template(
        "admin/feedback.html", rows=rows, verdicts=pages_judged, before=next_before
    )
