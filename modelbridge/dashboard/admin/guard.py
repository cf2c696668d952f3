"""The blueprint of all administration, its guard, and what its pages share."""

from typing import Any

from flask import Blueprint, abort, current_app, flash, request, url_for

from modelbridge.dashboard import access

PAGE_SIZE = 50

pages = Blueprint("admin", __name__, url_prefix="/admin")


@pages.before_request
def require_admin() -> None:
    """Only administrators get further; to everybody else these pages do not exist."""
    if not access.the_user().is_admin:
        abort(404)


def say(done: bool, words: str) -> None:
    """A flash: what happened, or that nothing did."""
    flash(words, "success" if done else "warning")


def page_of(rows: list[Any]) -> tuple[list[Any], Any | None]:
    """Of up to PAGE_SIZE + 1 rows those to show, and the last of them if more follow."""
    shown = rows[:PAGE_SIZE]
    return shown, shown[-1] if len(rows) > PAGE_SIZE else None


def search_words() -> str:
    """What was typed into the page's search box."""
    return request.args.get("q", "").strip()[:100]


def tabs() -> list[tuple[str, str]]:
    """The pages of the administration: path and words."""
    known = current_app.view_functions
    return [(url_for(endpoint), label) for endpoint, label in _TABS if endpoint in known]


def tab_of(path: str) -> str | None:
    """The path of the tab to which a page belongs: the longest that the page's path begins with.

    Postings and receipts, which no tab leads to, belong to the accounts.
    """
    fitting = [
        tab for tab, _ in tabs() if path == tab or (path.startswith(f"{tab}/") and tab != "/admin")
    ]
    accounts = url_for("admin.accounts") if request.blueprint == "admin_money" else None
    return max(fitting, key=len, default=accounts)


_TABS = (
    ("admin.index", "State"),
    ("admin.users", "Users"),
    ("admin.teams", "Teams"),
    ("admin.accounts", "Accounts"),
    ("admin_money.flagged", "Flagged calls"),
    ("admin.upstreams", "Upstreams"),
    ("admin.models", "Models and prices"),
    ("admin.fx", "Exchange rate"),
    ("admin.settings", "Settings"),
    ("admin.alerts", "Alerts"),
    ("admin.audit", "Audit log"),
    ("admin.feedback", "Feedback"),
)
pages.add_app_template_global(tabs, "admin_tabs")
pages.add_app_template_global(tab_of, "admin_tab_of")
