"""How long the server takes for each page of a full house.

    .venv/bin/python bench/seed_calls.py /tmp/full
    .venv/bin/python bench/pages.py /tmp/full [--times 40] [--json FILE]

Pages are asked for in this process, without a network: what is measured is routing, the login, the
queries, the template. The first answer of each page is not counted (templates are compiled then).
`cpu` is the p95 of processor time: it stands where the machine is busy with something else.
"""

import argparse
import json
import re
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from dashboard_world import Browser  # noqa: E402

from modelbridge import config  # noqa: E402
from modelbridge.factory import create_app  # noqa: E402

LIMIT_MS = 100.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    app = create_app(config.load({"MODELBRIDGE_DATA_DIR": str(wanted.data_dir)}))
    member, admin = Browser(app), Browser(app)
    member.log_in("alice@example.com")
    admin.log_in("ada@example.com")
    rows = [
        (name, *_measure(browser, path, wanted.times))
        for browser, pages in ((member, _member_pages(member)), (admin, _admin_pages(admin)))
        for name, path in pages.items()
    ]
    print(f"{'page':<46}{'p50 ms':>8}{'p95 ms':>8}{'cpu ms':>8}{'kB':>6}")
    for name, middle, high, cpu, size in rows:
        mark = "  <-- too slow" if high > LIMIT_MS else ""
        print(f"{name:<46}{middle:>8.1f}{high:>8.1f}{cpu:>8.1f}{size / 1000:>6.0f}{mark}")
    if wanted.json:
        wanted.json.write_text(json.dumps(rows, indent=1))
    app.extensions["modelbridge"].close()


def _measure(browser: Browser, path: str, times: int) -> tuple[float, float, float, int]:
    """p50 and p95 of the time and p95 of processor time in milliseconds, and the size in bytes."""
    answer = browser.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    took, worked = [], []
    for _ in range(times):
        begun, begun_work = time.perf_counter(), time.thread_time()
        browser.get(path).get_data()
        took.append((time.perf_counter() - begun) * 1000)
        worked.append((time.thread_time() - begun_work) * 1000)
    place = int(times * 0.95) - 1
    return statistics.median(took), sorted(took)[place], sorted(worked)[place], len(answer.data)


def _member_pages(browser: Browser) -> dict[str, str]:
    found = re.search(r"team=(team_\w+)", browser.get("/").text)
    assert found is not None
    team = f"team={found[1]}"
    usage = browser.get(f"/usage?{team}").text
    calls = re.search(r"/receipts/(call_\w+)", usage)
    older = re.search(r"before=([\w-]+)", usage)
    billing = re.search(r"before=(\d+)", browser.get(f"/billing?{team}").text)
    key = re.search(r'<option value="(key_\w+)"', usage)
    assert calls is not None
    assert older is not None
    assert billing is not None
    assert key is not None
    year = f"/usage?{team}&period=12m"
    return {
        "Overview, personal": "/",
        "Overview, team": f"/?{team}",
        "Usage, team, 30 days": f"/usage?{team}",
        "Usage, second page": f"/usage?{team}&before={older[1]}",
        "Usage, today": f"/usage?{team}&period=today",
        "Usage, 12 months by model": year,
        "Usage, 12 months by key": f"{year}&by=key",
        "Usage, 12 months by person": f"{year}&by=person",
        "Usage, 12 months by day": f"{year}&by=day",
        "Usage, 12 months, one key": f"{year}&key={key[1]}",
        "Usage, 12 months, one model": f"{year}&model=claude-opus-4-6",
        "Usage, 12 months, errors": f"{year}&status=errors",
        "Usage, 12 months, one error of one model":
            f"{year}&model=claude-opus-4-6&status=model_not_found",
        "Usage, 12 months, an error that nobody had": f"{year}&status=unsupported_media_type",
        "Receipt": f"/receipts/{calls[1]}",
        "Billing, team": f"/billing?{team}",
        "Billing, second page": f"/billing?{team}&before={billing[1]}",
        "Billing without usage": f"/billing?{team}&show=payments",
        "Statement of last month": f"/billing/statements/{_last_month()}?{team}",
    }  # fmt: skip


def _admin_pages(browser: Browser) -> dict[str, str]:
    page = browser.get("/admin/money/flagged").text
    account = re.search(r"/admin/money/accounts/(acct_\w+)", page)
    call = re.search(r"/admin/money/receipts/(call_\w+)", page)
    assert account is not None
    assert call is not None
    return {
        "Administration: flagged calls": "/admin/money/flagged",
        "Administration: an account": f"/admin/money/accounts/{account[1]}",
        "Administration: top-up": f"/admin/money/accounts/{account[1]}/top-up",
        "Administration: a receipt": f"/admin/money/receipts/{call[1]}",
        "Administration: a refund": f"/admin/money/receipts/{call[1]}/refund",
    }


def _last_month() -> str:
    year, month = time.gmtime()[:2]
    return f"{year - (month == 1)}-{(month - 2) % 12 + 1:02d}"


if __name__ == "__main__":
    main()
