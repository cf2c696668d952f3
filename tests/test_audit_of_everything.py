"""Whatever changes something, on a page, under /v1 or as a command, leads to the audit log.

Held against the sources: from each view and each command one follows the calls of functions, and
has to come to `auditlog.record`. What need not is listed here, with its reason.
"""

import ast
import inspect
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import pytest
from commands import ROOT, Commands
from flask import Flask

from modelbridge import config, first_start
from modelbridge.factory import Bridge
from modelbridge.store.tables import AuditEvent

RECORD = ("modelbridge.identity.auditlog", "record")
CALLS = "a call, or what comes before one: calls have rows of their own, estimates change nothing"
SILENT_VIEWS = {
    "account.begin_second_step": "nothing holds until the device has shown a code",
    "docs.answer": "an opinion about a page",
    "playground.call": CALLS,
    "v1.chat_completions": CALLS,
    "v1.completions": CALLS,
    "v1.count_tokens": CALLS,
    "v1.embeddings": CALLS,
    "v1.estimate": CALLS,
    "v1.estimate_for": CALLS,
    "v1.messages": CALLS,
    "v1.responses": CALLS,
    "v1.stored_response": "there is never one",
}
SILENT_COMMANDS = {
    "account show": "only looks",
    "alerts list": "only looks",
    "alerts show": "only looks",
    "backup": "a copy of a file, which whoever may do it can make without us as well; it has to "
    "work beside a database that cannot be written, or that is to be upgraded",
    "doctor": "only looks",
    "key list": "only looks",
    "key scan": "only looks",
    "model list": "only looks",
    "upstream list": "only looks",
    "user list": "only looks",
}
# Guesses of passwords are on record wherever one is asked for: that says nothing of the rest.
ASIDE = ("modelbridge.dashboard.session", "slow_down")
Function = tuple[str, str]


@cache
def module(name: str) -> tuple[dict[str, ast.AST], dict[str, str]]:
    """Its functions, and what its imported names stand for."""
    path = ROOT / Path(*name.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        return {}, {}
    tree = ast.parse(file.read_text("utf-8"))
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("modelbridge")
        for alias in node.names
    }
    return {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef)}, imported


def called(function: Function) -> Iterator[Function]:
    """The functions of ours that it names, to call them or to have them called."""
    functions, imported = module(function[0])
    for node in ast.walk(functions[function[1]]):
        if isinstance(node, ast.Name) and node.id in functions:
            yield function[0], node.id
        elif isinstance(node, ast.Name) and node.id in imported:
            place, _, name = imported[node.id].rpartition(".")
            yield place, name
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield imported.get(node.value.id, ""), node.attr


def is_recorded(start: Function) -> bool:
    known, waiting = {start, ASIDE}, [start]
    while waiting:
        for found in called(waiting.pop()):
            if found == RECORD:
                return True
            if found not in known and found[0] and found[1] in module(found[0])[0]:
                known.add(found)
                waiting.append(found)
    return False


def place_of(view: Any) -> Function:
    while isinstance(view, partial):
        view = view.func
    plain = inspect.unwrap(view)
    return plain.__module__, plain.__name__


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    found = Commands(tmp_path)
    yield found
    found.bridge.close()


def commands_of(app: Flask) -> Iterator[tuple[str, click.Command]]:
    def walk(group: click.Group, before: str) -> Iterator[tuple[str, click.Command]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from walk(command, f"{before}{name} ")
            else:
                yield f"{before}{name}", command

    return walk(app.cli, "")


def test_every_view_that_changes_something_is_on_record(commands: Commands) -> None:
    app = commands.app
    changing = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
    }
    silent = {name for name in changing if not is_recorded(place_of(app.view_functions[name]))}
    assert silent == SILENT_VIEWS.keys()
    assert len(changing) > 45


def test_every_command_that_changes_something_is_on_record(commands: Commands) -> None:
    found = dict(commands_of(commands.app))
    silent = {name for name, one in found.items() if not is_recorded(place_of(one.callback))}
    assert silent == SILENT_COMMANDS.keys()
    assert len(found) > 30


def actions(bridge: Bridge) -> list[tuple[str, str, str]]:
    with bridge.database.reading() as session:
        found = session.query(AuditEvent).order_by(AuditEvent.sequence)
        return [(one.actor, one.action, one.subject.partition(" (")[0]) for one in found]


def test_what_the_first_start_makes_is_on_record_and_whose_the_first_key_becomes(
    tmp_path: Path,
) -> None:
    environ = {"MODELBRIDGE_DATA_DIR": str(tmp_path), "OPENAI_API_KEY": "sk-upstream"}
    bridge = Bridge(config.load(environ))
    first_start.greeting(bridge)
    first_start.greeting(bridge)
    made = [
        ("first start", "upstream.add", "openai"),
        ("first start", "key.create", "First test key"),
    ]
    assert actions(bridge) == made
    bridge.close()
    commands = Commands(tmp_path)
    commands.run("user", "create", "alice@example.com", "--admin")
    assert actions(commands.bridge) == [
        *made,
        ("command line", "user.create", "alice@example.com"),
        ("command line", "key.transfer", "First test key"),
    ]
    commands.bridge.close()


def test_a_test_and_a_check_are_on_record_too(commands: Commands) -> None:
    commands.run("books", "check")
    commands.run("alerts", "test", status=1)
    assert [action for _, action, _ in actions(commands.bridge)] == ["books.check", "alerts.test"]
