"""The money path without HTTP: real admissions, charges and books on a file, no server, no thread.

    with world_in(directory) as world:
        key = world.key()
        charge = world.admit(key, 100)              # a hold for at most 100 output tokens
        charge.settle(world.usage(30), "reported")
        assert world.problems() == []

The model costs nothing for input and `World.TOKEN` nano-AUD for a token of output, so an amount is
a number of tokens times that. Without a server every unit is committed where it is submitted.
"""

import functools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelbridge import config, ids
from modelbridge.catalog import admin, fx
from modelbridge.dialects.registry import FRONTS
from modelbridge.factory import Bridge
from modelbridge.gateway import admission, recovery
from modelbridge.gateway.call import Call
from modelbridge.gateway.charge import Charge
from modelbridge.gateway.services import Gateway
from modelbridge.identity import keys, users
from modelbridge.identity.callers import Caller
from modelbridge.ledger import accounts, limits, postings
from modelbridge.ledger.accounts import AccountView
from modelbridge.ledger.audit import check_books
from modelbridge.money import NANOS, Usage
from modelbridge.store.database import Database
from modelbridge.store.tables import ApiKey, Base
from modelbridge.wire.chat import ChatRequest

MODEL = "gpt-exact"
AUD_PER_USD_NANOS = 1_530_000_000


@dataclass
class World:
    """A bridge that serves nobody, with Alice's account of AUD 10 in its books."""

    TOKEN = 2 * 1530  # USD 2 a million, in nano-AUD
    bridge: Bridge
    account_id: str
    user_id: str
    _key_accounts: dict[str, str] = field(default_factory=dict)

    @property
    def database(self) -> Database:
        return self.bridge.database

    @property
    def gateway(self) -> Gateway:
        return self.bridge.gateway

    # Keys and limits

    def key(self, account_id: str | None = None) -> str:
        """The id of a new live key without a limit."""
        account_id = account_id or self.account_id
        with self.database.transaction() as session:
            made = keys.create_key(
                session,
                account_id=account_id,
                user_id=None,
                name="A key",
                test=False,
                limit_nanos=None,
                window="none",
                expires_at=None,
                models=None,
            )
        self._key_accounts[made.row.id] = account_id
        return made.row.id

    def limit(self, whose: str, key_id: str, tokens: int | None, window: str) -> None:
        """A limit of that many tokens on the key, or on the `account` that pays for it."""
        nanos = None if tokens is None else tokens * self.TOKEN
        with self.database.transaction() as session:
            if whose == "key":
                limits.set_key_limit(session, key_id, nanos, window)
            else:
                limits.set_account_limit(session, self._key_accounts[key_id], nanos, window)

    def top_up(self, tokens: int, account_id: str | None = None) -> None:
        with self.database.transaction() as session:
            postings.top_up(session, account_id or self.account_id, tokens * self.TOKEN)

    # Calls

    def call(self, key_id: str, idempotency: tuple[str, str] | None = None) -> Call:
        """A call that has come in."""
        ((version,),) = self.look("SELECT version FROM catalog_state")
        caller = Caller(
            key_id, self._key_accounts[key_id], None, False, None, "Australia/Sydney", version
        )
        call = Call(caller, FRONTS["openai_chat"], "chat.completions", {}, idempotency=idempotency)
        call.model = MODEL
        return call

    def admit(self, key_id: str, tokens: int, idempotency: tuple[str, str] | None = None) -> Charge:
        """A charge whose hold pays for exactly that many output tokens. Raises the refusals."""
        return admission.admit(self.gateway, self.call(key_id, idempotency), request_for(tokens))

    def spend(self, key_id: str, tokens: int) -> Charge:
        """A call that costs its quote."""
        charge = self.admit(key_id, tokens)
        charge.settle(self.usage(tokens), "reported")
        return charge

    @staticmethod
    def usage(tokens: int) -> Usage:
        return Usage(output=tokens)

    # What becomes of them

    def crash(self) -> None:
        """The process died with whatever it had in memory; another takes over."""
        self.gateway.boot_id = self.bridge.boot_id = ids.new_id("boot")
        self.gateway.unsettled.clear()
        recovery.recover(self.gateway)

    def sweep(self) -> int:
        return recovery.sweep(self.gateway)

    def remember(self, memory: sqlite3.Connection) -> None:
        """A copy of the whole file is in that memory."""
        self.database._connection.backup(memory)

    def begin_again(self, memory: sqlite3.Connection) -> None:
        """The file is as it is in that memory, and nothing is known of what happened since."""
        connection = self.database._connection
        memory.backup(getattr(connection, "real", connection))  # a faulty one has a real one
        self.gateway.known_prices.clear()
        self.gateway.unsettled.clear()

    # What the books say

    @property
    def account(self) -> AccountView:
        with self.database.reading() as session:
            return accounts.account_view(session, self.account_id)

    def spent(self, key_id: str) -> int:
        return self._spending(key_id).spent_nanos

    def held(self, key_id: str) -> int:
        return self._spending(key_id).held_nanos

    def rows(self, entity: type[Base], **where: Any) -> list[Any]:
        with self.database.reading() as session:
            return list(session.query(entity).filter_by(**where).all())

    def look(self, statement: str) -> list[Any]:
        """What a statement reads."""
        with self.database.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def sql(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """Run one statement as it is, past every rule of the code."""
        return self.database.submit(
            lambda cursor: (cursor.execute(statement, values), cursor.fetchall())[1]
        )

    def problems(self) -> list[str]:
        with self.database.reading() as session:
            return check_books(session).problems

    def _spending(self, key_id: str) -> limits.KeySpending:
        with self.database.reading() as session:
            return limits.key_spending(session, [session.get_one(ApiKey, key_id)])[key_id]


def request_for(tokens: int) -> ChatRequest:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_completion_tokens": tokens,
    }


@contextmanager
def world_in(directory: Path, **environ: str) -> Iterator[World]:
    """A world whose file is in that directory, as the template made it."""
    template, account_id, user_id = _template()
    shutil.copyfile(template, directory / "modelbridge.db")
    bridge = _bridge(directory, environ)
    world = World(bridge, account_id, user_id)
    try:
        yield world
    finally:
        bridge.close()


def _bridge(directory: Path, environ: dict[str, str]) -> Bridge:
    env = {
        "MODELBRIDGE_DATA_DIR": str(directory),
        "MODELBRIDGE_MASTER_KEY": "m" * 64,
        "MODELBRIDGE_SECRET_KEY": "s" * 64,
        "MODELBRIDGE_BUDGET_WAIT_SECONDS": "0",
        "MODELBRIDGE_THREADS": "8",
    }
    return Bridge(config.load(env | environ))


@functools.cache
def _template() -> tuple[Path, str, str]:
    """A file with Alice, her AUD 10, an upstream and the model; made once for a process."""
    directory = Path(tempfile.mkdtemp(prefix="modelbridge-world-"))
    bridge = _bridge(directory, {})
    with bridge.database.transaction() as session:
        account = accounts.open_account(session, "user")
        user = users.create_user(
            session, email="alice@example.com", name="Alice", account_id=account.id
        )
        postings.top_up(session, account.id, 10 * NANOS)
        fx.set_rate(session, AUD_PER_USD_NANOS)
        admin.add_upstream(
            session,
            name="nowhere",
            provider="openai",
            base_url="http://127.0.0.1:9/v1",
            allow_private=True,
            sealed_credential=lambda _: None,
        )
        admin.add_model(
            session,
            name=MODEL,
            targets=[("nowhere", MODEL)],
            prices={"input": "0", "output": "2"},
            free=False,
            context_window=None,
            max_output=1_000_000,
        )
    with bridge.database.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    account_id, user_id = account.id, user.id
    bridge.close()
    return directory / "modelbridge.db", account_id, user_id
