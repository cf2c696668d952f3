"""`flask …` for tests: commands on a bridge of their own, in this process or as a real one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import Result

from modelbridge import config
from modelbridge.factory import create_app

ROOT = Path(__file__).resolve().parents[1]


class Commands:
    """The commands of one bridge, run in this process."""

    def __init__(self, data_dir: Path) -> None:
        self.app = create_app(config.load({"MODELBRIDGE_DATA_DIR": str(data_dir)}))
        self.bridge = self.app.extensions["modelbridge"]
        self._runner = self.app.test_cli_runner()

    def run(self, *words: str, stdin: str = "", status: int = 0, **environ: str) -> Result:
        """The result of `flask words…`, which ended with that status and without a traceback."""
        result: Result = self._runner.invoke(args=list(words), input=stdin, env=environ)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        assert result.exit_code == status, result.output
        return result

    def out(self, *words: str) -> str:
        """What it printed on standard output, without the last line end."""
        return self.run(*words).stdout.removesuffix("\n")

    def json(self, *words: str) -> Any:
        """What it printed as JSON."""
        return json.loads(self.run(*words, "--json").stdout)

    def refused(self, *words: str, stdin: str = "", status: int = 1, **environ: str) -> str:
        """The complaint of a command that is refused, and prints nothing else."""
        result = self.run(*words, stdin=stdin, status=status, **environ)
        assert result.stdout == ""
        return result.stderr


@contextmanager
def commands_in(data_dir: Path) -> Iterator[Commands]:
    """The commands of a new bridge whose data are in that directory."""
    commands = Commands(data_dir)
    try:
        yield commands
    finally:
        commands.bridge.close()


def flask(
    data_dir: Path, *words: str, stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """A real `flask words…`, as an operator types it beside the server."""
    return subprocess.run(
        [sys.executable, "-m", "flask", *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "MODELBRIDGE_DATA_DIR": str(data_dir), **environ},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
