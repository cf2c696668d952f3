"""/readyz says why not, /metrics counts, and neither slows a call."""

import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import requests
from hostile import HostileUpstream, reply, reset_after_body
from people import Key, Person, TestBridge, serving, wait_for

from modelbridge import clock, ids
from modelbridge.gateway import books
from modelbridge.gateway.call import Call
from modelbridge.gateway.meters import MOST_NAMES, Meters
from modelbridge.money import Usage
from modelbridge.operations import readiness
from modelbridge.store.tables import BooksCheck


def ready(bridge: TestBridge) -> tuple[int, list[str]]:
    """The status of /readyz and the codes of its reasons."""
    bridge.bridge.readiness._looked_at = -10.0
    answer = requests.get(f"{bridge.url}/readyz", timeout=10)
    return answer.status_code, [one["code"] for one in answer.json().get("reasons", [])]


def metrics(bridge: TestBridge) -> dict[str, float]:
    text = requests.get(f"{bridge.url}/metrics", timeout=10).text
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if not line.startswith("#")
    }


def test_a_bridge_that_is_about_to_stop_says_so_while_it_still_takes_calls(
    bridge: TestBridge, key: Key
) -> None:
    bridge.bridge.gateway.leaving.set()
    assert ready(bridge) == (503, ["draining"])
    assert key.chat().status_code == 200
    bridge.bridge.gateway.leaving.clear()
    assert ready(bridge) == (200, [])


def test_a_disk_that_is_almost_full_is_a_reason(
    bridge: TestBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "free_bytes_at", lambda path: 10 * 2**20)
    assert ready(bridge) == (503, ["disk_low"])
    monkeypatch.undo()
    assert ready(bridge) == (200, [])


def test_a_write_that_fails_is_a_reason_and_one_that_works_again_is_none(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    connection = bridge.database._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    bridge.database.submit(lambda cursor: cursor.execute("CREATE TABLE ballast (x)"))
    connection.execute(f"PRAGMA max_page_count = {pages}")

    def fill(cursor: sqlite3.Cursor) -> None:
        cursor.execute("INSERT INTO ballast VALUES (zeroblob(1000000))")

    with pytest.raises(Exception, match="cannot be written"):
        bridge.database.submit(fill)
    bridge.database.try_write = lambda seconds: bridge.database.submit(
        fill
    )  # what a full disk does
    assert ready(bridge) == (503, ["ledger"])
    del bridge.database.try_write
    connection.execute("PRAGMA max_page_count = 1073741823")
    assert ready(bridge) == (200, [])
    assert key.chat().status_code == 200


def test_a_locked_database_is_a_reason_and_a_call_then_reaches_no_upstream(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    with closing(sqlite3.connect(bridge.database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        assert ready(bridge) == (503, ["ledger"])
        assert time.monotonic() - begun < 4
        refused = key.chat()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert upstream.seen() == []
        other.execute("ROLLBACK")
    assert wait_for(lambda: ready(bridge) == (200, []))
    assert key.chat().status_code == 200


def test_books_that_do_not_add_up_are_a_reason_until_they_are_checked_again(
    bridge: TestBridge, alice: Person
) -> None:
    with bridge.database.transaction() as session:
        session.add(
            BooksCheck(
                id=ids.new_id("chk"),
                at=clock.now(),
                ok=False,
                problems=["something"],
                counts={},
                duration_micros=1,
            )
        )
    assert ready(bridge) == (503, ["books"])
    assert books.check_now(bridge.database, bridge.bridge.auditor).ok
    assert ready(bridge) == (200, [])


def test_the_metrics_tell_what_calls_came_to(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    charged_nanos = 0
    for answer in (key.chat(), key.stream()):
        assert answer.status_code == 200
        assert answer.content
    key.chat("no-such-model")
    key.chat(max_tokens=0)
    bridge.settle_down()
    charged_nanos = sum(call.cost_nanos or 0 for call in bridge.calls())
    found = metrics(bridge)
    calls = "modelbridge_calls_total"
    assert found[f'{calls}{{model="gpt-test",status="200",upstream="hostile"}}'] == 2
    assert found[f'{calls}{{model="other",status="404",upstream="none"}}'] == 1
    assert found['modelbridge_cost_nano_aud_total{model="gpt-test",upstream="hostile"}'] == (
        charged_nanos
    )
    assert charged_nanos > 0
    assert found['modelbridge_first_byte_seconds_count{upstream="hostile"}'] == 2
    assert found["modelbridge_added_seconds_count"] == 2
    assert found["modelbridge_added_seconds_sum"] > 0
    tokens = sum(value for name, value in found.items() if "modelbridge_tokens_total" in name)
    assert tokens == sum(one.input_tokens + one.output_tokens for one in bridge.calls())
    assert found['modelbridge_holds{state="held"}'] == 0
    assert found["modelbridge_streams"] == 0
    wait_for(lambda: metrics(bridge)["modelbridge_writer_queue"] == 0)
    assert "modelbridge_books_ok" not in found
    books.check_now(bridge.database, bridge.bridge.auditor)
    assert metrics(bridge)["modelbridge_books_ok"] == 1
    assert metrics(bridge)["process_open_fds"] > 0


def test_the_metrics_tell_what_is_open_now_and_what_nobody_knows(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    object.__setattr__(bridge.bridge.settings, "hold_grace_seconds", 3600.0)
    upstream.will(reset_after_body(), reply(gate="metrics"))
    assert key.chat().status_code == 502
    assert metrics(bridge)['modelbridge_holds{state="unknown"}'] == 1
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(key.chat)
        upstream.wait_for(2)
        found = metrics(bridge)
        assert found['modelbridge_holds{state="held"}'] == 1
        assert found["modelbridge_streams"] == found["modelbridge_calls_running"] == 1
        upstream.open("metrics")
        assert running.result().status_code == 200
    object.__setattr__(bridge.bridge.settings, "hold_grace_seconds", 0.0)
    wait_for(lambda: metrics(bridge)['modelbridge_holds{state="unknown"}'] == 0)


def test_an_upstream_that_refuses_the_connection_is_counted_once(
    bridge: TestBridge, key: Key
) -> None:
    bridge.upstream("nowhere", "http://127.0.0.1:9")
    bridge.model("gpt-nowhere", "nowhere")
    assert key.chat("gpt-nowhere").status_code == 502
    found = metrics(bridge)
    name = 'modelbridge_calls_total{model="gpt-nowhere",status="502",upstream="nowhere"}'
    assert found[name] == 1


def test_names_that_clients_invent_make_no_new_series(bridge: TestBridge, key: Key) -> None:
    for number in range(5):
        key.chat(f"invented-{number}")
    found = [name for name in metrics(bridge) if "modelbridge_calls_total" in name]
    assert len(found) == 1
    meters = Meters()
    call = Call(caller=None, front=None, endpoint="", body={})  # type: ignore[arg-type]
    for number in range(2 * MOST_NAMES):
        call.model = f"m{number}"
        meters.call_ended(call, 200, upstream=f"u{number}")
    series = re.findall(r"^modelbridge_calls_total", _text(meters), re.MULTILINE)
    assert len(series) == MOST_NAMES + 1


def test_counting_a_call_costs_microseconds() -> None:
    meters = Meters()
    call = Call(caller=None, front=None, endpoint="", body={})  # type: ignore[arg-type]
    call.model, call.first_byte_micros, call.added_micros = "gpt-test", 900_000, 4_000
    begun = time.perf_counter()
    for _ in range(2_000):
        meters.call_ended(call, 200, upstream="u", usage=Usage(input=5, output=7), cost_nanos=3)
    micros = (time.perf_counter() - begun) / 2_000 * 1_000_000
    assert micros < 200  # about 10 on an idle machine


def _text(meters: Meters) -> str:
    from prometheus_client import generate_latest

    return generate_latest(meters.registry).decode()


def test_metrics_are_for_this_machine_or_for_whoever_has_the_token(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    asked = {
        "MODELBRIDGE_PUBLIC_URL": "https://bridge.example.com",
        "MODELBRIDGE_METRICS_TOKEN": "a long token",
    }
    host = {"Host": "bridge.example.com"}
    with serving(tmp_path_factory.mktemp("token"), **asked) as bridge:
        url = f"{bridge.url}/metrics"
        assert requests.get(url, headers=host, timeout=10).status_code == 403
        wrong = host | {"Authorization": "Bearer a wrong one"}
        assert requests.get(url, headers=wrong, timeout=10).status_code == 403
        right = host | {"Authorization": "Bearer a long token"}
        assert requests.get(url, headers=right, timeout=10).status_code == 200
    del asked["MODELBRIDGE_METRICS_TOKEN"]
    with serving(tmp_path_factory.mktemp("public"), **asked) as bridge:
        refused = requests.get(f"{bridge.url}/metrics", headers=host, timeout=10)
        assert refused.status_code == 403
        assert "MODELBRIDGE_METRICS_TOKEN" in refused.json()["error"]
