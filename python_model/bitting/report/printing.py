"""A page as a PDF, printed by a browser: Playwright drives a Chromium, with nothing folded away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bitting.errors import ToolError, missing_extra

#: Names a program that starts a Chromium, if it is none of `_NAMES` on the PATH and none that Playwright downloaded.
BROWSER = "BITTING_BROWSER"
_NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome", "google-chrome-stable")
_MILLISECONDS = 120_000


def browser() -> str | None:
    """Path of a Chromium; None: Playwright's own.

    Raises:
        ToolError: if the environment names one that is not there.
    """
    named = os.environ.get(BROWSER)
    if named and not shutil.which(named):
        raise ToolError(f"{BROWSER} is {named!r}, and there is no such program; allowed is one that starts a Chromium, or none")
    return shutil.which(named) if named else next((path for name in _NAMES if (path := shutil.which(name))), None)


def require() -> None:
    """Say that Playwright is missing before any work.

    Raises:
        ExtraError: if it is.
    """
    with missing_extra("a report as .pdf"):
        import playwright.sync_api  # noqa: F401


def write(page: Path, output: Path) -> None:
    """Print a page.

    Args:
        page: an HTML file.
        output: the PDF.

    Raises:
        ExtraError: if Playwright is missing.
        ToolError: if there is no browser, or it fails.
    """
    require()
    from playwright.sync_api import Error, PdfMargins, sync_playwright

    path = browser()
    try:
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=path)
            try:
                tab = chromium.new_page(offline=True)
                tab.set_default_timeout(_MILLISECONDS)
                tab.goto(page.resolve().as_uri())
                tab.emulate_media(media="print")
                tab.evaluate("unfold('.entry')")
                margins: PdfMargins = {"top": "12mm", "bottom": "12mm", "left": "12mm", "right": "12mm"}
                tab.pdf(path=output, format="A4", landscape=True, margin=margins, print_background=True)
            finally:
                chromium.close()
    except Error as error:
        raise ToolError(
            f"no PDF was printed: {error.message.splitlines()[0]}; it takes a Chromium: install one (Debian: apt install "
            f"chromium), or run `playwright install chromium`, or name one with {BROWSER}, or write .html and print that"
        ) from None
