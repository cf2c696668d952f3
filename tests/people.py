"""A bridge for a test, and the people on it: Alice owns, Bob is on her team, Charlie is nobody."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import log_watch
import requests
from openai import OpenAI

from modelbridge import config, money, server
from modelbridge.catalog import admin
from modelbridge.factory import Bridge, create_app
from modelbridge.gateway import recovery
from modelbridge.identity import keys, teams, users
from modelbridge.ledger import accounts, limits, postings
from modelbridge.ledger.accounts import AccountView
from modelbridge.ledger.audit import check_books
from modelbridge.listener import Sockets
from modelbridge.store.tables import ApiKey, Base, Call, Hold
from modelbridge.upstream import credentials

ROOT = Path(__file__).resolve().parents[1]
HELLO = [{"role": "user", "content": "Hello"}]


@dataclass
class Person:
    """Somebody with an account of their own."""

    bridge: "TestBridge"
    id: str
    account_id: str
    email: str

    def top_up(self, aud: str) -> None:
        self.bridge.top_up(self.account_id, aud)

    def key(self, **more: Any) -> "Key":
        """A personal key."""
        return self.bridge.key(account_id=self.account_id, user_id=self.id, **more)

    @property
    def account(self) -> AccountView:
        return self.bridge.account(self.account_id)


@dataclass
class Key:
    """An API key and what can be done with it."""

    bridge: "TestBridge"
    id: str
    secret: str

    def __post_init__(self) -> None:
        log_watch.SECRETS.add(self.secret)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}

    def chat(self, model: str = "gpt-test", **more: Any) -> requests.Response:
        """A plain call; never raises for a status."""
        headers = self.headers | more.pop("headers", {})
        body = {"model": model, "messages": HELLO} | more
        return requests.post(
            f"{self.bridge.url}/v1/chat/completions", json=body, headers=headers, timeout=60
        )

    def stream(self, model: str = "gpt-test", **more: Any) -> requests.Response:
        """A streamed call whose body is read by the caller."""
        headers = self.headers | more.pop("headers", {})
        body = {"model": model, "messages": HELLO, "stream": True} | more
        return requests.post(
            f"{self.bridge.url}/v1/chat/completions",
            json=body,
            headers=headers,
            timeout=60,
            stream=True,
        )

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self.bridge.url}{path}", headers=self.headers, timeout=60)

    def openai(self, **more: Any) -> OpenAI:
        """The official SDK, pointed at the bridge."""
        return OpenAI(api_key=self.secret, base_url=f"{self.bridge.url}/v1", **more)

    def revoke(self) -> None:
        with self.bridge.database.transaction() as session:
            keys.revoke(session, session.get_one(ApiKey, self.id))

    @property
    def spending(self) -> limits.KeySpending:
        with self.bridge.database.reading() as session:
            return limits.key_spending(session, [session.get_one(ApiKey, self.id)])[self.id]


@dataclass
class TestBridge:
    """A bridge that serves on a port of loopback, in this process."""

    __test__ = False
    bridge: Bridge
    url: str
    people: dict[str, Person] = field(default_factory=dict)

    @property
    def database(self) -> Any:
        return self.bridge.database

    def person(self, name: str, aud: str | None = "10", **more: Any) -> Person:
        with self.database.transaction() as session:
            account = accounts.open_account(session, "user")
            user = users.create_user(
                session, email=f"{name}@example.com", name=name, account_id=account.id, **more
            )
            person = Person(self, user.id, account.id, user.email)
        if aud:
            person.top_up(aud)
        return person

    def team(self, name: str, owner: Person, aud: str | None = "10") -> str:
        """A team's account id; `owner` owns it."""
        with self.database.transaction() as session:
            account = accounts.open_account(session, "team")
            user = users.get_user(session, owner.id)
            assert user is not None
            teams.create_team(session, name=name, owner=user, account_id=account.id)
        if aud:
            self.top_up(account.id, aud)
        return account.id

    def top_up(self, account_id: str, aud: str) -> None:
        with self.database.transaction() as session:
            postings.top_up(session, account_id, money.parse_amount(aud))

    def key(self, *, limit: str | None = None, **more: Any) -> Key:
        fields: dict[str, Any] = {
            "name": "A key",
            "test": False,
            "window": "none",
            "expires_at": None,
            "models": None,
        }
        with self.database.transaction() as session:
            made = keys.create_key(
                session,
                limit_nanos=None if limit is None else money.parse_amount(limit),
                **(fields | more),
            )
        return Key(self, made.row.id, made.secret)

    def upstream(
        self,
        name: str,
        base_url: str,
        provider: str = "openai",
        credential: str | None = "sk-upstream",
    ) -> None:
        def seal(id_: str) -> str | None:
            if credential is None:
                return None
            return credentials.seal(self.bridge.settings.master_key, id_, credential)

        with self.database.transaction() as session:
            admin.add_upstream(
                session,
                name=name,
                provider=provider,
                base_url=base_url,
                allow_private=True,
                sealed_credential=seal,
            )

    def model(self, name: str = "gpt-test", *targets: str, **more: Any) -> None:
        """A model at the upstreams `targets` (default: "hostile"), at USD 1 in and 2 out."""
        fields: dict[str, Any] = {
            "prices": {"input": "1", "output": "2"},
            "free": False,
            "context_window": None,
            "max_output": None,
        }
        pairs = [(target, more.get("upstream_model", name)) for target in (targets or ("hostile",))]
        more.pop("upstream_model", None)
        with self.database.transaction() as session:
            admin.add_model(session, name=name, targets=pairs, **(fields | more))

    def account(self, account_id: str) -> AccountView:
        with self.database.reading() as session:
            return accounts.account_view(session, account_id)

    def rows(self, kind: type[Base]) -> list[Any]:
        with self.database.reading() as session:
            return list(session.query(kind).all())

    def calls(self) -> list[Call]:
        """The journal, oldest first."""
        return sorted(self.rows(Call), key=lambda call: call.id)

    def last_call(self) -> Call:
        return self.calls()[-1]

    def settle_down(self, seconds: float = 10) -> None:
        """Wait until no call is under way; what nobody saw the end of is resolved."""
        wait_for(lambda: self.bridge.gateway.slots.in_use == 0, seconds)
        recovery.sweep(self.bridge.gateway)

    def check_books(self, *, open_holds: int = 0) -> None:
        """The books balance, and that many holds are open."""
        self.settle_down()
        with self.database.reading() as session:
            report = check_books(session)
            still_open = session.query(Hold).filter(Hold.state.in_(("held", "unknown"))).count()
        assert report.problems == []
        assert still_open == open_holds


@contextmanager
def serving(data_dir: Path, **environ: str) -> Iterator[TestBridge]:
    """A bridge in this process, on a free port, until the block ends."""
    env = {
        "MODELBRIDGE_DATA_DIR": str(data_dir),
        "MODELBRIDGE_THREADS": "64",
        "MODELBRIDGE_PORT": "0",
        "MODELBRIDGE_HOLD_GRACE_SECONDS": "0",
    } | environ
    app = create_app(config.load(env))
    bridge: Bridge = app.extensions["modelbridge"]
    bridge.start()
    sockets = Sockets()
    alive = partial(server.is_alive, bridge)
    listening = server.make_server(app, bridge.settings, sockets, alive)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            sockets.turn(0.2)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield TestBridge(bridge, f"http://127.0.0.1:{listening.effective_port}")
    finally:
        stop.set()
        thread.join()
        listening.task_dispatcher.shutdown(timeout=5)
        listening.close()
        for channel in list(sockets.values()):
            channel.close()
        bridge.close()


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """What the condition returned once it was true. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise TimeoutError("it did not come true")


def flask(data_dir: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A `flask …` command, as somebody would type it."""
    done = subprocess.run(
        [str(Path(__import__("sys").executable).with_name("flask")), *words],
        cwd=ROOT,
        env={"MODELBRIDGE_DATA_DIR": str(data_dir), "PATH": "/usr/bin:/bin"},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert log_watch.leaks(done.stderr) == []
    return done
