"""Fill a data directory with calls, so that pages can be measured on a full house.

    .venv/bin/python bench/seed_calls.py DATA_DIR [--calls 1000000] [--no-check]

Twelve months of calls by 13 people, 3 teams and 50 keys on 8 models, mostly in office hours, one
in thirty an error. Everything is consistent: `flask books check` passes (and is run at the end).
Everybody's password is "plenty of horses here"; ada@example.com administers the bridge.
"""

import argparse
import json
import random
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from modelbridge import clock, config  # noqa: E402
from modelbridge.catalog import admin  # noqa: E402
from modelbridge.factory import Bridge, create_app  # noqa: E402
from modelbridge.identity import keys, passwords, teams, users  # noqa: E402
from modelbridge.ledger import accounts  # noqa: E402
from modelbridge.ledger.audit import check_books  # noqa: E402
from modelbridge.ledger.windows import window_start  # noqa: E402
from modelbridge.money import NANOS, Usage, cost_nanos  # noqa: E402

PASSWORD = "plenty of horses here"
ZONE = "Australia/Sydney"
PEOPLE = ("ada", "alice", "bob", "carol", "dan", "eve", "frank", "grace", "heidi", "ivan",
          "judy", "mallory", "niaj")  # fmt: skip
TEAMS = {"Search": PEOPLE[1:6], "Support": PEOPLE[5:10], "Data": PEOPLE[9:]}
MODELS = ("gpt-5.4-mini", "gpt-5.4", "claude-sonnet-4-6", "claude-haiku-4-5", "claude-opus-4-6",
          "gemini-2.5-flash", "gemini-2.5-pro", "gpt-5.4-nano")  # fmt: skip
KEYS = ("Query rewriting", "Nightly index", "Evals", "Ranking notebook", "Laptop", "Staging",
        "Answer drafts", "Ticket triage", "Summaries", "Translation", "Chat widget", "Cleaning",
        "Weekly report", "CI")  # fmt: skip
WEIGHTS = (30, 14, 22, 12, 3, 12, 4, 8)
ERRORS = (
    (429, "spending_limit_exceeded"),
    (429, "upstream_rate_limited"),
    (502, "upstream_error"),
    (504, "upstream_timeout"),
    (400, "invalid_request"),
    (404, "model_not_found"),
)
BATCH = 20_000


@dataclass
class SeedKey:
    """A key that calls: whose, who pays, and which models it likes."""

    id: str
    account_id: str
    user_id: str
    window: str
    weights: list[float]


@dataclass
class Books:
    """The running state of the money while calls are made up."""

    balance: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    spent: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    days: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    top_ups: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=0, help="keys more that nobody uses")
    parser.add_argument("--no-check", action="store_true")
    wanted = parser.parse_args()
    if (wanted.data_dir / "modelbridge.db").exists():
        parser.error(f"{wanted.data_dir} has a database already; name an empty directory")
    environ = {"MODELBRIDGE_DATA_DIR": str(wanted.data_dir), "MODELBRIDGE_PORT": "8000"}
    bridge: Bridge = create_app(config.load(environ)).extensions["modelbridge"]
    path = bridge.settings.database_path
    begun = time.monotonic()
    seed(bridge, wanted.calls)
    _add_keys(path, wanted.keys)
    print(f"{wanted.calls:,} calls in {time.monotonic() - begun:.0f} s, {path.stat().st_size:,} B")
    if not wanted.no_check:
        with bridge.database.reading() as session:
            report = check_books(session)
        print("The books add up." if report.ok else "\n".join(report.problems))
    bridge.close()


def seed(bridge: Bridge, calls: int) -> None:
    """People, teams, keys and that many calls are in the empty database of the bridge."""
    rng = random.Random(20261123)
    seed_keys, prices = _furnish(bridge, rng)
    _fill(bridge.settings.database_path, seed_keys, prices, calls, rng)


def _add_keys(path: Path, wanted: int) -> None:
    """That many live keys of one person stand beside the others."""
    with sqlite3.connect(path) as connection:
        connection.execute(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?) "
            "INSERT INTO api_keys (id, sha256, prefix, last4, name, mode, account_id, user_id, "
            "limit_window, created_at) SELECT 'key_' || hex(randomblob(14)), "
            "lower(hex(randomblob(32))), 'mb_live_' || substr(hex(randomblob(2)), 1, 4), "
            "substr(hex(randomblob(2)), 1, 4), 'Unused ' || n, 'live', some.account_id, "
            "some.user_id, 'none', some.created_at FROM n, "
            "(SELECT * FROM api_keys WHERE mode = 'live' LIMIT 1) AS some WHERE n.n <= ?",
            (wanted, wanted),
        )
    connection.close()


def _furnish(bridge: Bridge, rng: random.Random) -> tuple[list[SeedKey], dict[str, Any]]:
    """People, teams, keys and upstreams; returns the keys and the price of each model."""
    hashed = passwords.hash_password(PASSWORD)
    with bridge.database.transaction() as session:
        people = {}
        for name in PEOPLE:
            account = accounts.open_account(session, "user", ZONE)
            people[name] = users.create_user(
                session, email=f"{name}@example.com", name=name.capitalize(),
                is_admin=name == "ada", account_id=account.id, password_hash=hashed,
            )  # fmt: skip
        for provider in ("openai", "anthropic", "gemini"):
            admin.add_upstream(
                session, name=provider, provider=provider, base_url=None,
                allow_private=True, sealed_credential=lambda _: None,
            )  # fmt: skip
        holders = [(people[name].account_id, people[name]) for name in PEOPLE[:8]]
        for team_name, members in TEAMS.items():
            account = accounts.open_account(session, "team", ZONE)
            owner = people[members[0]]
            team = teams.create_team(session, name=team_name, owner=owner, account_id=account.id)
            for name in members[1:]:
                teams.add_member(session, team, people[name], "member")
            holders += [(account.id, people[members[n % len(members)]]) for n in range(14)]
        made = [_key(session, rng, number, *holder) for number, holder in enumerate(holders)]
    with bridge.database.reading() as session:
        catalog = bridge.catalog.at(
            session.connection().exec_driver_sql("SELECT version FROM catalog_state").scalar_one()
        )
    prices: dict[str, Any] = {}
    for name in MODELS:
        offered = catalog.offered(name)
        assert offered is not None, name
        prices[name] = offered.offers[0]
    prices["fx"] = (catalog.fx_version, catalog.aud_per_usd_nanos)
    return made, prices


def _key(session: Any, rng: random.Random, number: int, account_id: str, user: Any) -> SeedKey:
    window = rng.choice(("none", "none", "day", "month"))
    limit = None if number % 3 == 0 else rng.choice((20, 100, 500)) * NANOS
    window = window if limit else "none"
    row = keys.create_key(
        session, account_id=account_id, user_id=user.id, name=KEYS[number % len(KEYS)], test=False,
        limit_nanos=limit, window=window, expires_at=None, models=None,
    ).row  # fmt: skip
    row.created_at = clock.now() - timedelta(days=366)
    weights = [weight * rng.choice((0, 0.2, 1, 3)) for weight in WEIGHTS]
    return SeedKey(row.id, account_id, user.id, window, weights if any(weights) else [*WEIGHTS])


def _fill(
    path: Path, seed_keys: list[SeedKey], prices: dict[str, Any], calls: int, rng: random.Random
) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    connection.execute("BEGIN")
    books = Books()
    for name in MODELS:
        offer = prices[name]
        books.rows["price_versions"].append(
            {"id": offer.price_version, "model": name, "source": offer.price_source,
             "price": json.dumps(offer.price.to_json(), separators=(",", ":")), "created_at": 0}
        )  # fmt: skip
    _flush(connection, books)
    popularity = [1 / (1 + place) ** 0.7 for place in range(len(seed_keys))]
    rng.shuffle(popularity)
    for number, at in enumerate(_moments(calls, rng)):
        key = rng.choices(seed_keys, popularity)[0]
        model = rng.choices(MODELS, key.weights)[0]
        _call(books, rng, key, model, at, prices)
        if number % BATCH == BATCH - 1:
            _flush(connection, books)
    _flush(connection, books)
    _close_books(connection, books)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _moments(calls: int, rng: random.Random) -> Iterator[datetime]:
    """Ascending moments of the last twelve months; nights and weekends are quiet."""
    now = clock.now()
    hours = []
    for back in range(365 * 24, 0, -1):
        hour = now - timedelta(hours=back)
        local = hour.astimezone(ZoneInfo(ZONE))
        weight: float = 6 if 9 <= local.hour < 18 else 1
        growth = 1 + (365 * 24 - back) / (365 * 24)
        hours.append((hour, weight * growth * (0.15 if local.weekday() > 4 else 1)))
    whole, given, owed = sum(weight for _, weight in hours), 0, 0.0
    for hour, weight in hours:
        owed += calls * weight / whole
        count = max(0, min(calls, round(owed)) - given)
        given += count
        offsets = sorted(rng.randrange(3_600_000_000) for _ in range(count))
        yield from (hour + timedelta(microseconds=offset) for offset in offsets)
    yield from (now - timedelta(seconds=calls - n) for n in range(given, calls))


def _call(
    books: Books, rng: random.Random, key: SeedKey, model: str, at: datetime, prices: dict[str, Any]
) -> None:
    micros = clock.to_micros(at)
    stamp = f"{micros // 1000:012x}{rng.getrandbits(64):016x}"
    fails, leaves = rng.random() < 0.03, rng.random() < 0.004
    if books.balance[key.account_id] < 50 * NANOS:
        _top_up(books, key.account_id, micros)
    status, error = rng.choice(ERRORS) if fails else (200, None)
    usage = Usage() if fails else _usage(rng)
    offer, (fx_version, rate) = prices[model], prices["fx"]
    cost = None if fails else cost_nanos(usage, offer.price, rate)
    duration = int(rng.lognormvariate(14.3, 0.7))
    has_hold = not fails or status in (502, 504)
    hold = (cost or 5_000_000) * 3 + 1_000_000 if has_hold else None
    finish = "client_left" if leaves and not fails else "failed" if fails else "answered"
    row = {
        "id": f"call_{stamp}", "key_id": key.id, "account_id": key.account_id,
        "user_id": key.user_id, "mode": "live", "endpoint": "chat_completions",
        "model": model, "stream": rng.random() < 0.6, "started_at": micros,
        "duration_micros": duration, "first_byte_micros": duration // 5, "status": status,
        "error_code": "client_left" if finish == "client_left" else error, "finish": finish,
        "upstream_id": offer.target.upstream_id if has_hold else None,
        "upstream_model": model if has_hold else None,
        "hold_id": f"hold_{stamp}" if has_hold else None, "held_nanos": hold,
        "output_cap": 4096 if has_hold else None,
        "usage_source": "none" if fails else "estimated" if leaves else "reported",
        "price_version": offer.price_version if has_hold else None,
        "fx_version": fx_version if has_hold else None, "cost_nanos": cost,
    }  # fmt: skip
    row |= {f"{name}_tokens": count for name, count in asdict(usage).items()}
    books.rows["calls"].append(row)
    if hold is not None:
        _hold(books, row, key, micros + duration, hold)
    _count(books, row, key, at, usage)


def _usage(rng: random.Random) -> Usage:
    fresh, cached = int(rng.lognormvariate(6.5, 1.1)) + 8, 0
    if rng.random() < 0.3:
        cached = fresh * 2
    output = int(rng.lognormvariate(5.2, 1.0)) + 1
    return Usage(input=fresh, cache_read=cached, output=output, reasoning=output // 4)


def _hold(books: Books, row: dict[str, Any], key: SeedKey, ended: int, hold: int) -> None:
    charged = row["cost_nanos"]
    start = window_start(key.window, ZONE, clock.from_micros(row["started_at"]))
    books.rows["holds"].append(
        {"id": row["hold_id"], "call_id": row["id"], "account_id": key.account_id,
         "key_id": key.id, "user_id": key.user_id, "endpoint": row["endpoint"],
         "model": row["model"], "stream": row["stream"],
         "state": "void" if charged is None else "posted", "owner": "boot_seed",
         "amount_nanos": hold, "charged_nanos": charged, "key_window_start": start,
         "account_window_start": 0, "fx_version": row["fx_version"],
         "admitted_at": row["started_at"], "resolved_at": ended, "unknown_since": None,
         "flagged": row["usage_source"] == "estimated", "evidence": None}
    )  # fmt: skip
    books.rows["attempts"].append(
        {"call_id": row["id"], "number": 1, "hold_id": row["hold_id"],
         "upstream_id": row["upstream_id"], "upstream_model": row["upstream_model"],
         "price_version": row["price_version"], "started_at": row["started_at"],
         "ended_at": ended, "status": row["status"], "outcome": row["finish"]}
    )  # fmt: skip
    books.spent[key.id, start] += charged or 0
    books.spent[key.account_id, 0] += charged or 0
    if charged is not None:
        _post(books, key.account_id, "usage", -charged, row["started_at"], row, key.id)


def _top_up(books: Books, account_id: str, micros: int) -> None:
    books.top_ups += 1
    _post(books, account_id, "top_up", 500 * NANOS, micros, None, None)


def _post(
    books: Books, account_id: str, kind: str, amount: int, micros: int,
    row: dict[str, Any] | None, key_id: str | None,
) -> None:  # fmt: skip
    """A posting at that moment: calls are posted in their order of admission here."""
    books.balance[account_id] += amount
    books.rows["balance_transactions"].append(
        {"id": f"txn_{row['id'][5:] if row else f'topup{books.top_ups}'}",
         "account_id": account_id, "kind": kind, "amount_nanos": amount,
         "balance_after_nanos": books.balance[account_id], "created_at": micros,
         "hold_id": row and row["hold_id"], "key_id": key_id, "admitted_at": row and micros,
         "refunds_id": None, "reference": None if row else f"INV-{books.top_ups:05d}",
         "note": "", "actor_id": None}
    )  # fmt: skip


def _count(books: Books, row: dict[str, Any], key: SeedKey, at: datetime, usage: Usage) -> None:
    day = f"{at.astimezone(ZoneInfo(ZONE)):%Y-%m-%d}"
    sums = books.days.setdefault(
        (key.account_id, day, key.id, key.user_id, row["model"], "live"), [0, 0, 0, 0, 0]
    )
    amounts = (1, row["finish"] == "failed", usage.total_input, usage.total_output,
               row["cost_nanos"] or 0)  # fmt: skip
    for place, amount in enumerate(amounts):
        sums[place] += amount


def _flush(connection: sqlite3.Connection, books: Books) -> None:
    for table in ("price_versions", "holds", "attempts", "balance_transactions", "calls"):
        rows = books.rows.pop(table, [])
        if rows:
            names = list(rows[0])
            connection.executemany(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                [tuple(row.values()) for row in rows],
            )


def _close_books(connection: sqlite3.Connection, books: Books) -> None:
    connection.executemany(
        "INSERT INTO daily_usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(*who, *sums) for who, sums in books.days.items()],
    )
    connection.executemany(
        "INSERT INTO spending VALUES (?, ?, ?, 0)",
        [(*what, spent) for what, spent in books.spent.items()],
    )
    connection.executemany(
        "UPDATE accounts SET balance_nanos = ? WHERE id = ?",
        [(balance, account_id) for account_id, balance in books.balance.items()],
    )
    connection.execute(
        "UPDATE api_keys SET last_used_at = (SELECT max(started_at) FROM calls WHERE key_id = "
        "api_keys.id)"
    )


if __name__ == "__main__":
    main()
