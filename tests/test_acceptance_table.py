"""docs/acceptance.md names all sixty checks once, and tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PAGE = (TESTS.parent / "docs" / "acceptance.md").read_text("utf-8")
ROWS = re.findall(r"^\| (\d+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)


def test_each_of_the_sixty_checks_has_its_row() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, 61))


def test_every_test_that_it_names_exists() -> None:
    wrong = []
    for number, _, shown_by in ROWS:
        named = re.findall(r"`([\w/.]+\.py)(?:::(\w+))?`", shown_by)
        if not named and shown_by != "does not apply":
            wrong.append(f"{number}: names no test")
        for file, name in named:
            path = TESTS / file
            if not path.is_file() or f"def {name}" not in path.read_text("utf-8"):
                wrong.append(f"{number}: {file}::{name}")
    assert wrong == []


def test_every_check_but_that_of_replicas_has_a_test_of_its_number() -> None:
    without = [int(number) for number, _, by in ROWS if f"::test_check_{int(number):02}" not in by]
    assert without == [10]


def test_every_check_that_bears_a_number_is_in_its_row() -> None:
    written = {
        int(number)
        for path in (TESTS / "acceptance").glob("test_*.py")
        for number in re.findall(r"def test_check_(\d+)", path.read_text("utf-8"))
    }
    shown = {int(number): shown_by for number, _, shown_by in ROWS}
    assert not [number for number in written if f"test_check_{number:02}" not in shown[number]]
