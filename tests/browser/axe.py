"""axe-core on a page, as it is now, in both themes and at both widths, and its pictures.

axe-core comes with the package axe-playwright-python: nothing is fetched. The screenshots land in
build/screenshots, for people to look at.
"""

from collections.abc import Iterator
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
THEMES = ("light", "dark")
WIDTHS = (1440, 360)
BETWEEN = (1280, 1024, 768)  # nothing sticks out there either


def looks(page: Page) -> Iterator[tuple[str, int]]:
    """The page in each theme at each width; light and wide again afterwards."""
    for theme in THEMES:
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900 if width > 500 else 740})
            yield theme, width
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1440, "height": 900})


def examine(page: Page, name: str) -> None:
    """Fails with axe's report if the page has a violation, and if it is wider than its window."""
    examine_width(page, name)
    found = Axe().run(page)
    assert found.violations_count == 0, f"{name}: {found.generate_report()}"


def examine_width(page: Page, name: str) -> None:
    """Fails if the page is wider than its window."""
    too_wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert too_wide <= 0, f"{name} is {too_wide} px too wide"


def look(page: Page, name: str, *, whole: bool = True) -> None:
    """Takes the page's pictures and has axe examine it; not those of a page that failed."""
    failed = page.locator(".error-status").count()
    assert not failed or name.startswith("error-"), f"{name} is an error page"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for theme, width in looks(page):
        file = SCREENSHOTS / f"{name}-{theme}-{width}.png"
        page.screenshot(path=file, full_page=whole, animations="disabled")
        examine(page, f"{name} {theme} {width}")
    for width in BETWEEN:
        page.set_viewport_size({"width": width, "height": 900})
        examine_width(page, f"{name} {width}")
    page.set_viewport_size({"width": 1440, "height": 900})


def fits(page: Page, table: str) -> None:
    """On a phone the table of that name shows its last column without being pushed aside."""
    page.set_viewport_size({"width": 360, "height": 740})
    region = page.get_by_role("region", name=table)
    beyond = region.evaluate("box => box.scrollWidth - box.clientWidth")
    assert beyond <= 0, f"{table} is {beyond} px wider than its box"
    page.set_viewport_size({"width": 1440, "height": 900})
