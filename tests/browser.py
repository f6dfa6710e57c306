"""A real Chromium for tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# The machine may be busy.
PATIENCE_MS = 240_000


@contextmanager
def browser_page(**options) -> Iterator:
    """A page of Chromium; the test is skipped, with a reason, where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=[*_FLAGS])
        page = browser.new_page(viewport={"width": 1700, "height": 1000}, **options)
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()
