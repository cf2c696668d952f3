"""Tests in forked processes: which lines each runs, and whether one notices a mistake."""

import contextlib
import gc
import io
import json
import os
import resource
import select
import signal
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import coverage
import pytest
from hypothesis import Phase, settings

from torture.mistakes import Mistake

HERE = Path(__file__).resolve().parents[1]
SECOND_PROCESS = {"upstream", "hostile_process", "empty_bridge", "llama"}
# No plugin but these: to load the others takes longer than most tests.
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
OPTIONS = [
    "-x",
    "--tb=no",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
    *(
        f"-p{name}"
        for name in (
            "pytest_timeout",
            "_hypothesis_pytestplugin",
            "no:cacheprovider",
            "no:unraisableexception",  # it collects garbage, of all that was loaded before the fork
        )
    ),
]
MOST_SECONDS = 60


class Trial:
    """A module and its tests, run once without a mistake: which test runs which line."""

    def __init__(self, directory: Path, name: str, path: Path, tests: Sequence[str]) -> None:
        self._directory, self._name, self._path = directory, name, path
        self._files = [str(HERE / test) for test in tests]
        _load_all_but(tests)
        result = directory / f"{name}.json"
        assert _forked(lambda: self._measure(result), 600) == 0, f"{tests} fail as it is"
        found = json.loads(result.read_text())
        self._seconds: dict[str, float] = found["seconds"]
        self._by_line = {int(line): set(tests) for line, tests in found["lines"].items()}

    def of(self, mistake: Mistake) -> str:
        """Whether a test notices the mistake: "noticed", "SURVIVED" or "UNTESTED"."""
        tests = self._for(mistake)
        if not tests:
            return "UNTESTED"

        def run() -> int:
            seconds = 4 + round(sum(self._seconds[test] for test in tests) / 2)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            _put_in_place(self._name, self._path, mistake.source)
            return self._pytest(_Watch(tests))

        return "SURVIVED" if _forked(run, MOST_SECONDS) == 0 else "noticed"

    def _for(self, mistake: Mistake) -> list[str]:
        """The tests that run its line, the quickest first; all, if it is run on import."""
        found = set[str]().union(*(self._by_line.get(line, set()) for line in mistake.lines))
        if "" in found:
            found = set(self._seconds)
        return sorted(found, key=lambda test: self._seconds[test])

    def _measure(self, result: Path) -> int:
        measured = coverage.Coverage(data_file=None, include=[str(self._path)])
        measured.start()
        _put_in_place(self._name, self._path, self._path.read_text())
        watch = _Watch(None, measured.switch_context)
        code = self._pytest(watch)
        measured.stop()
        lines = measured.get_data().contexts_by_lineno(str(self._path))
        result.write_text(json.dumps({"seconds": watch.seconds, "lines": lines}))
        return code

    def _pytest(self, watch: "_Watch") -> int:
        temporary = self._directory / f"t{os.getpid()}"
        options = [*OPTIONS, f"--basetemp={temporary}"]
        return int(pytest.main([*options, *self._files], plugins=[watch]))


class _Watch:
    """A pytest plugin: only some tests, in that order; which test runs, and for how long."""

    def __init__(
        self, chosen: Sequence[str] | None, started: Callable[[str], object] | None = None
    ) -> None:
        self._chosen = chosen
        self._started = started
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._chosen is None:
            items[:] = [
                item
                for item in items
                if not SECOND_PROCESS & set(getattr(item, "fixturenames", ()))
            ]
            return
        rank = {nodeid: place for place, nodeid in enumerate(self._chosen)}
        mine = (item for item in items if item.nodeid in rank)
        items[:] = sorted(mine, key=lambda item: rank[item.nodeid])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self._started:
            self._started(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration


def _needs_more_processes(item: pytest.Item) -> bool:
    return bool(SECOND_PROCESS & set(getattr(item, "fixturenames", ())))


def _put_in_place(name: str, path: Path, source: str) -> None:
    """The module is what that source makes of it, wherever its names were imported to."""
    module = sys.modules[name].__dict__
    before = {key: value for key, value in module.items() if not key.startswith("__")}
    exec(compile(source, str(path), "exec"), module)  # noqa: S102  the module itself
    for other in list(sys.modules.values()):
        names = getattr(other, "__dict__", {})
        if names is module or not _is_ours(other):
            continue
        for key, value in before.items():
            if names.get(key, names) is value:
                names[key] = module[key]


def _is_ours(module: ModuleType) -> bool:
    return (getattr(module, "__file__", None) or "").startswith(str(HERE.parent) + "/") and (
        ".venv" not in str(module.__file__)
    )


def _load_all_but(tests: Sequence[str]) -> None:
    """The bridge and what the tests import are loaded, once for every fork; the tests are not."""
    for name in ("conftest", *tests):
        import_module(name.removesuffix(".py"))
    for name in list(sys.modules):
        if name.startswith(("test_", "conftest")):
            del sys.modules[name]
    import_module("ledger_world")._template()
    settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        max_examples=40,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
    )
    settings.load_profile("mutants")
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["--help"])  # loads pytest's own parts
    gc.collect()
    gc.freeze()


def _forked(work: Callable[[], int], seconds: float) -> int:
    """What that work returns in a process of its own, in silence; below 0 if it takes too long."""
    child = os.fork()
    if not child:
        os.setsid()
        silence = os.open(os.environ.get("MUTANTS_LOG", os.devnull), os.O_WRONLY | os.O_APPEND)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        code = 8
        try:
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    handle = os.pidfd_open(child)
    if not select.select([handle], [], [], seconds)[0]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
