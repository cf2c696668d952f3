"""axe on every page that there is, in both themes and at both widths: nothing to mend.

The pages are those of docs/permissions.md's table that answer a GET with HTML; a new one is walked
without a line here. Their pictures land in build/screenshots as `every-…`.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from dashboard_world import PASSWORD
from furnished_world import Furnished, furnish
from playwright.sync_api import Browser, Page
from team_world import OPERATOR, OWNER, team_world_in
from test_permission_walk import TABLE
from werkzeug.serving import make_server

from browser.axe import look
from browser.conftest import free_port

# Files, and answers for programs.
NO_PAGES = {
    "assets.static", "bootstrap.static", "health.healthz", "health.metrics", "health.readyz",
    "home.steps", "playground.models",
}  # fmt: skip
STRANGERS = {"session.login", "links.setup", "links.reset", "register.register",
             "invitations.accept"}  # fmt: skip
PAGES = sorted(
    endpoint for endpoint in TABLE if endpoint not in NO_PAGES and not endpoint.startswith("v1.")
)


@dataclass
class Walk:
    """The served bridge, and a browser tab of each kind of visitor."""

    things: Furnished
    url: str
    tabs: dict[str, Page]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Walk]:
    port = free_port()
    with team_world_in(tmp_path_factory.mktemp("walk"), MODELBRIDGE_PORT=str(port)) as research:
        things = furnish(research)
        server = make_server("127.0.0.1", port, research.world.app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{port}"
        contexts = {
            name: chromium.new_context(locale="en-AU") for name in (OWNER, OPERATOR, "nobody")
        }
        tabs = {name: context.new_page() for name, context in contexts.items()}
        try:
            for name in (OWNER, OPERATOR):
                log_in(tabs[name], url, name)
            yield Walk(things, url, tabs)
        finally:
            for context in contexts.values():
                context.close()
            server.shutdown()
            thread.join()
            server.server_close()


def log_in(page: Page, url: str, name: str) -> None:
    page.goto(f"{url}/login")
    page.fill("#email", f"{name}@example.com")
    page.fill("#password", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(lambda address: "/login" not in address)


def visitor(endpoint: str) -> str:
    """Who is let in: the administrator, a stranger, or Alice, who owns the team."""
    if TABLE[endpoint] == "administrators":
        return OPERATOR
    return "nobody" if endpoint in STRANGERS else OWNER


@pytest.mark.parametrize("endpoint", PAGES)
def test_axe_finds_nothing_to_mend(walk: Walk, endpoint: str) -> None:
    app = walk.things.research.world.app
    page = walk.tabs[visitor(endpoint)]
    rules = [
        rule
        for rule in app.url_map.iter_rules(endpoint)
        if "GET" in (rule.methods or ()) and not rule.rule.endswith(".csv")
    ]
    if not rules:
        pytest.skip("no page: a form's target, or a file")
    for rule in rules:
        with app.test_request_context():
            values: dict[str, Any] = {**walk.things.arguments(rule)}
            path = app.url_for(endpoint, **values)
        answer = page.goto(walk.url + path)
        assert answer is not None
        # A link that is used up is a page too.
        assert answer.status in (200, 410), f"{path}: {answer.status}"
        look(page, f"every-{endpoint}")
