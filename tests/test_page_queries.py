"""Whatever stands in the query of a page's address, the page comes, or says what is wrong."""

from pathlib import Path

import pytest
from dashboard_world import world_in

ROOT = "root@example.com"
NAMES = (
    "action", "actor", "after", "before", "by", "cursor", "from", "key", "model", "next", "page",
    "period", "q", "show", "status", "team", "to", "window",
)  # fmt: skip
VALUES = (
    "9223372036854775808",
    "9" * 5_000,
    f"000000001{'9' * 5_000}",
    "-1",
    "\u0663",
    "\u00b2",
    "1e400",
    "9999-12-31",
    "0001-01-01",
    "2027-02-30",
    "\x00",
    "'%_<",
    "\ufffd\U0001f4a5\u202e",
)


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_no_query_makes_a_page_fail(tmp_path: Path, value: str) -> None:
    with world_in(tmp_path) as world:
        world.person(ROOT, is_admin=True)
        root = world.browser(ROOT)
        for rule in world.app.url_map.iter_rules():
            is_page = not (rule.endpoint or "").startswith(("v1.", "health."))
            if is_page and "GET" in (rule.methods or ()) and not rule.arguments:
                answer = root.client.get(rule.rule, query_string=dict.fromkeys(NAMES, value))
                assert answer.status_code < 500, rule.rule
