"""The house rules that no linter knows, read off the source and held against the docs."""

import ast
import re
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import click
import pytest
from flask import Flask

from modelbridge import cli, config, errors
from modelbridge.upstream import sandbox

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "modelbridge"
SOURCES = [ROOT / "app.py", *sorted(PACKAGE.rglob("*.py"))]
PAGES = [*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/**/*.md"))]
LEDGERS = [PACKAGE / "money.py", *sorted((PACKAGE / "ledger").glob("*.py"))]

REJECTIONS = (400, 404, 413, 422)  # an upstream's rejection keeps its own status
FILE_LINES, DIALECT_LINES, FUNCTION_LINES = 400, 500, 60


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def nodes(paths: list[Path]) -> Iterator[tuple[Path, ast.AST]]:
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield path, node


def doc(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# Size


def test_no_file_is_longer_than_a_reader_is_patient() -> None:
    too_long = []
    for path in SOURCES:
        most = DIALECT_LINES if path.parent.name == "dialects" else FILE_LINES
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > most:
            too_long.append(f"{path.relative_to(ROOT)}: {lines} lines, {most} at most")
    assert not too_long


def test_no_function_is_longer_than_a_screen() -> None:
    too_long = [
        f"{place(path, node)} {node.name}"
        for path, node in nodes(SOURCES)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]
    assert not too_long


# Money


def test_nobody_commits_but_the_store() -> None:
    outside = [path for path in SOURCES if path.parent != PACKAGE / "store"]
    commits = [
        place(path, node)
        for path, node in nodes(outside)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "commit"
    ]
    assert not commits


def says_nanos(node: ast.AST) -> bool:
    """Whether an expression speaks of an amount of money, by a name such as `cost_nanos`."""
    names = (getattr(part, "id", getattr(part, "attr", "")) for part in ast.walk(node))
    return any(str(name).endswith("_nanos") for name in names)


def is_float(node: ast.AST | None) -> bool:
    return node is not None and any(
        (isinstance(part, ast.Name) and part.id == "float")
        or (isinstance(part, ast.Constant) and isinstance(part.value, float))
        for part in ast.walk(node)
    )


def touches_money_with_a_float(node: ast.AST) -> bool:
    match node:
        case ast.BinOp(op=ast.Div()):
            return says_nanos(node)
        case ast.BinOp():
            return says_nanos(node) and (is_float(node.left) or is_float(node.right))
        case ast.Call(func=ast.Name(id="float" | "round")):
            return says_nanos(node)
        case ast.arg(arg=name, annotation=annotation):
            return "nanos" in name and is_float(annotation)
        case ast.AnnAssign(target=target, annotation=annotation):
            return says_nanos(target) and is_float(annotation)
        case ast.FunctionDef(name=name, returns=returns):
            return "nanos" in name and is_float(returns)
    return False


def test_no_float_touches_money() -> None:
    assert not [
        place(path, node) for path, node in nodes(SOURCES) if touches_money_with_a_float(node)
    ]


def test_the_ledger_knows_no_float_at_all() -> None:
    assert not [place(path, node) for path, node in nodes(LEDGERS) if is_float(node)]


@pytest.mark.parametrize(
    "line",
    [
        "x = balance_nanos / 3",
        "x = row.held_nanos * 1.1",
        "x = float(spent_nanos)",
        "def f(amount_nanos: float): ...",
        "amount_nanos: float | None = None",
        "def cost_nanos(usage) -> float: ...",
    ],
)
def test_a_float_that_touched_money_would_be_seen(line: str) -> None:
    assert any(touches_money_with_a_float(node) for node in ast.walk(ast.parse(line)))


# Documents


def variables_read() -> set[str]:
    """Every environment variable that config.py names."""
    found = set()
    for _, node in nodes([PACKAGE / "config.py"]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(re.findall(r"^(?:MODELBRIDGE_[A-Z_]+[A-Z]|[A-Z]+_API_KEY)$", node.value))
    return found | {f"MODELBRIDGE_{name}_KEY_FILE" for name in ("SECRET", "MASTER", "OLD_MASTER")}


def test_every_setting_is_documented_and_nothing_else() -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \|", doc("docs/configuration.md"), re.MULTILINE)
    assert sorted(table) == sorted(variables_read())


def test_every_field_of_the_settings_comes_from_a_documented_variable() -> None:
    derived = {"master_key_beside_data", "provider_credentials"}
    documented = {
        name.removeprefix("MODELBRIDGE_").lower()
        for name in re.findall(r"`(MODELBRIDGE_[A-Z_]+)`", doc("docs/configuration.md"))
    }
    assert set(config.Settings.__dataclass_fields__) - derived <= documented


def test_the_documented_defaults_are_the_real_ones(tmp_path: Path) -> None:
    settings = config.load({"MODELBRIDGE_DATA_DIR": str(tmp_path)})
    rows = re.findall(
        r"^\| `MODELBRIDGE_([A-Z_]+)` \| `([^`]+)` \|", doc("docs/configuration.md"), re.MULTILINE
    )
    for name, default in rows:
        if name != "DATA_DIR":
            value = getattr(settings, name.lower())
            words = {True: "on", False: "off"}.get(value) if isinstance(value, bool) else value
            assert str(words).removesuffix(".0") == default, name
    assert len(rows) > 10


def every_error() -> list[type[errors.BridgeError]]:
    """Those of errors.py: other floors' own never reach a client."""
    found, queue = [], [errors.BridgeError]
    while queue:
        kind = queue.pop()
        found.append(kind)
        queue += kind.__subclasses__()
    ours = [kind for kind in found if kind.__module__ == errors.__name__]
    return sorted(ours, key=lambda kind: kind.__name__)


def documented_errors() -> set[tuple[str, str, str]]:
    """(status, type, code) of each row of the tables in docs/errors.md."""
    rows = re.findall(
        r"^\| ([\d, ]+) \| `([a-z_]+)` \| `([a-z_]+)` \|", doc("docs/errors.md"), re.MULTILINE
    )
    return {
        (status, kind, code) for statuses, kind, code in rows for status in statuses.split(", ")
    }


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_is_documented(kind: type[errors.BridgeError]) -> None:
    statuses = REJECTIONS if kind is errors.UpstreamRejected else (kind.status,)
    rows = {(str(status), kind.type, kind.code) for status in statuses}
    assert rows <= documented_errors()


def test_no_error_is_documented_that_does_not_exist() -> None:
    written = {
        node.value
        for _, node in nodes(SOURCES)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert {code for _, _, code in documented_errors()} <= written


def test_every_scenario_of_the_sandbox_is_documented_and_nothing_else() -> None:
    table = re.findall(
        r"^\| `sandbox-([a-z-]+)` \| `sandbox:([a-z-]+)` \|", doc("docs/sandbox.md"), re.M
    )
    assert table == [(name, name) for name in sandbox.SCENARIOS]


def documented_commands() -> list[tuple[str, str, list[str]]]:
    """(noun, the word after it, options) of every `flask …` in the documents."""
    found = []
    for page in PAGES:
        text = re.sub(r"\\\n", " ", page.read_text(encoding="utf-8"))
        for words in re.findall(r"\bflask (\w[^`'#\n]*)", text):
            noun, _, rest = words.partition(" ")
            found.append((noun, rest.partition(" ")[0], re.findall(r"--[a-z][a-z-]+", rest)))
    return found


def test_every_command_in_the_documents_exists_with_its_options() -> None:
    app = Flask("modelbridge")
    cli.init_app(app)
    context = click.Context(app.cli)
    checked, wrong = 0, []
    for noun, word, options in documented_commands():
        command = app.cli.get_command(context, noun)
        if isinstance(command, click.Group):
            command = command.get_command(context, word)
        known = {name for param in command.params for name in param.opts} if command else set()
        checked += 1
        if command is None or set(options) - known:
            wrong.append(f"flask {noun} {word} {' '.join(options)}")
    assert checked > 10
    assert not wrong


def test_documents_that_the_code_names_exist() -> None:
    named = {
        name
        for path in SOURCES
        for name in re.findall(r"\bdocs/[\w/.-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert not [name for name in named if not (ROOT / name).exists()]


def test_links_between_the_documents_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not target.startswith(("http:", "https:", "mailto:"))
        and not (page.parent / target).exists()
    ]
    assert not broken


# Releases


def test_the_changelog_begins_with_a_version() -> None:
    first = re.search(r"^## (.+)$", doc("CHANGELOG.md"), re.MULTILINE)
    assert first is not None
    assert re.fullmatch(r"\d+\.\d+\.\d+ \((?:unreleased|\d{4}-\d{2}-\d{2})\)", first[1])


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-test.txt", "requirements-models.txt"]
)
def test_every_requirement_is_pinned_with_hashes_and_names_no_place(name: str) -> None:
    text = doc(name)
    entries = [entry for entry in re.split(r"\n(?=[^\s#])", text) if not entry.startswith("#")]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+(\[[a-z,]+\])?==[^\s]+ ", entry), entry
        assert "--hash=sha256:" in entry, entry
    assert not re.search(r"://|--index|--extra|--find-links|--trusted| @ ", text)


def test_what_the_bridge_imports_is_what_requirements_in_asks_for() -> None:
    asked = {
        re.split(r"[<>=\s]", line)[0].lower()
        for line in doc("requirements.in").splitlines()
        if line and not line.startswith("#")
    }
    brought_along = {"click", "markupsafe", "werkzeug", "wtforms"}  # Flask's and Flask-WTF's own
    owners = packages_distributions()
    imported = set()
    for _, node in nodes(SOURCES):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            owned = owners.get(name.partition(".")[0], [])
            imported |= {owner.lower().replace("_", "-") for owner in owned}
    assert imported - brought_along <= asked
