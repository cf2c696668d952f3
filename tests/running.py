"""A bridge as an outsider has it: `python app.py`, set up by `flask …`, spoken to over HTTP.

Nothing of it runs in the tests' own process. What a test knows of the money it has from answers,
from commands, and from a look at the database file that cannot write.
"""

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any, Self

import genai_prices
import log_watch
from openai import AsyncOpenAI, OpenAI
from people import ROOT, wait_for

from modelbridge.ledger.audit import check_books
from modelbridge.store.database import Database

ALICE = "alice@example.com"
HELLO: Any = [{"role": "user", "content": "Hello"}]
AUD_PER_USD = Decimal("1.6")
_READY = "ModelBridge serves on"


@dataclass
class RunningBridge:
    """`python app.py` on a port of its own. `printed`: its standard output so far."""

    data_dir: Path
    url: str
    process: "subprocess.Popen[str]"
    environ: dict[str, str]
    printed: list[str] = field(default_factory=list)
    _keys: dict[str, str] = field(default_factory=dict)
    _upstreams: set[str] = field(default_factory=set)

    @classmethod
    def start(cls, folder: Path, **environ: str) -> Self:
        """A bridge that serves, with nothing in it. Its log is `folder`/log.txt."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        env = {
            "PATH": os.environ["PATH"],
            "MODELBRIDGE_DATA_DIR": str(folder / "data"),
            "MODELBRIDGE_PORT": str(port),
            "MODELBRIDGE_THREADS": "64",
            "MODELBRIDGE_HOLD_GRACE_SECONDS": "0",
        } | environ
        with (folder / "log.txt").open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "app.py"],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        bridge = cls(folder / "data", f"http://127.0.0.1:{port}", process, env)
        bridge._listen(folder)
        return bridge

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _listen(self, folder: Path) -> None:
        """Read what it prints, up to the line that says that it serves, and on."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed.append(line)
            if line.startswith(_READY):
                break
        else:
            self.stop()
            raise RuntimeError((folder / "log.txt").read_text(encoding="utf-8"))
        threading.Thread(target=self._read_on, daemon=True).start()

    def _read_on(self) -> None:
        assert self.process.stdout is not None
        self.printed.extend(self.process.stdout)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.terminate()
        try:
            status = self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        assert log_watch.leaks(self.log) == []
        return status

    @property
    def log(self) -> str:
        """What it wrote on standard error."""
        return (self.data_dir.parent / "log.txt").read_text(encoding="utf-8")

    # As an outside script sets it up

    def flask(self, *words: str, stdin: str = "") -> str:
        """What `flask words…` prints, run beside the bridge; it has to succeed."""
        done = self.flask_done(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def flask_done(
        self, *words: str, stdin: str = "", **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        """`flask words…`, however it ended."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("flask")), *words],
            cwd=ROOT,
            env=self.environ | environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert log_watch.leaks(done.stderr) == []
        return done

    def upstream(self, name: str, provider: str, base_url: str, credential: str) -> None:
        """The upstream is there; adding it again is nothing."""
        if name not in self._upstreams:
            self._upstreams.add(name)
            log_watch.learn(credential)
            options = ("--provider", provider, "--base-url", base_url, "--api-key-stdin")
            self.flask("upstream", "add", name, *options, stdin=credential)

    def key(self, name: str = "sdk", *options: str) -> str:
        """Alice's key of that name, made with these options when it is first asked for."""
        if name not in self._keys:
            words = ("key", "create", "--account", ALICE, "--name", name, *options)
            self._keys[name] = self.flask(*words).removesuffix("\n")
        return self._keys[name]

    def openai(self, key: str | None = None, **more: Any) -> OpenAI:
        """The official SDK as its users set it up, pointed here."""
        return OpenAI(api_key=key or self.key(), base_url=f"{self.url}/v1", **more)

    def async_openai(self, key: str | None = None, **more: Any) -> AsyncOpenAI:
        """The same for asyncio."""
        return AsyncOpenAI(api_key=key or self.key(), base_url=f"{self.url}/v1", **more)

    # A look at the books

    def receipt(self, request_id: str) -> dict[str, Any]:
        """The call's row in the journal; waits for one that is written with the next commit."""
        found: dict[str, Any] = wait_for(lambda: self._row(request_id))
        return found

    def newest_receipt(self) -> dict[str, Any]:
        """The newest call's."""
        with closing(self._connect()) as connection:
            row = connection.execute("SELECT * FROM calls ORDER BY id DESC LIMIT 1").fetchone()
        return dict(row)

    def balance_nanos(self) -> int:
        """Alice's balance."""
        with closing(self._connect()) as connection:
            query = (
                "SELECT balance_nanos FROM accounts JOIN users ON accounts.id = account_id "
                "WHERE email = ?"
            )
            return int(connection.execute(query, (ALICE,)).fetchone()[0])

    def check_books(self) -> None:
        """The books balance, and no hold is open any more."""
        wait_for(lambda: self._open_holds() == 0)
        database = Database(self.data_dir / "modelbridge.db")
        try:
            with database.reading() as session:
                assert check_books(session).problems == []
        finally:
            database.close()

    def _open_holds(self) -> int:
        with closing(self._connect()) as connection:
            query = "SELECT count(*) FROM holds WHERE state IN ('held', 'unknown')"
            return int(connection.execute(query).fetchone()[0])

    def _row(self, request_id: str) -> dict[str, Any] | None:
        return next(iter(self.rows("SELECT * FROM calls WHERE id = ?", request_id)), None)

    def rows(self, query: str, *values: str) -> list[dict[str, Any]]:
        """What the database file answers; it is only read."""
        with closing(self._connect()) as connection:
            return [dict(row) for row in connection.execute(query, values)]

    def _connect(self) -> sqlite3.Connection:
        path = self.data_dir / "modelbridge.db"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        return connection


def set_up(bridge: RunningBridge) -> None:
    """Alice runs the bridge and has money; the rate is `AUD_PER_USD`."""
    bridge.flask("user", "create", ALICE, "--admin", "--password-stdin", stdin="four odd old words")
    bridge.flask("fx", "set", str(AUD_PER_USD))
    bridge.flask("topup", ALICE, "1000", "--reference", "opening")


def cost_nanos(
    model: str,
    provider: str = "anthropic",
    *,
    input: int = 0,
    cache_read: int = 0,
    cache_write: int = 0,
    cache_write_1h: int = 0,
    output: int = 0,
) -> int:
    """What a call costs by the price package's own arithmetic, in nano-AUD, rounded up.

    The classes are disjoint here; the package's `input_tokens` has them all.
    """
    usage = genai_prices.Usage(
        input_tokens=input + cache_read + cache_write + cache_write_1h,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write + cache_write_1h,
        cache_write_1h_tokens=cache_write_1h,
        output_tokens=output,
    )
    usd = genai_prices.calc_price(usage, model, provider_id=provider).total_price
    return to_nanos(usd)


def to_nanos(usd: Decimal) -> int:
    """USD in nano-AUD at the rate of these tests, rounded up."""
    return int((usd * AUD_PER_USD * 10**9).to_integral_value(ROUND_CEILING))


def nanos(aud: str) -> int:
    """nano-AUD of a decimal that an answer names."""
    exact = Decimal(aud) * 10**9
    assert exact == int(exact)
    return int(exact)
