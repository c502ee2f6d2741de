"""The browser in which pages are opened. A missing one fails the test; scripts/get_chromium.sh fetches it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path(__file__).parents[2] / ".tools" / "chromium" / "run"


def program() -> Path:
    """Path of the program that starts it."""
    assert CHROMIUM.exists(), f"no browser: {CHROMIUM} is missing; run scripts/get_chromium.sh, as `make test` does"
    return CHROMIUM


@contextmanager
def running() -> Iterator[Browser]:
    """A browser, closed at the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program())
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page in a tab of its own, and all that it did: requests, messages, errors, dialogs."""

    page: Page
    requests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@contextmanager
def opened(browser: Browser, path: Path, **context: Any) -> Iterator[Opened]:
    """Open a file with plots drawn; `context`: as Playwright takes it (viewport, color_scheme, java_script_enabled)."""
    whole = browser.new_context(**context)
    tab = Opened(whole.new_page())
    tab.page.on("request", lambda request: tab.requests.append(request.url))
    tab.page.on("console", lambda message: tab.said.append(f"{message.type}: {message.text}"))
    tab.page.on("pageerror", lambda error: tab.said.append(f"error: {error}"))
    tab.page.on("dialog", lambda dialog: tab.said.append(f"dialog: {dialog.message}"))
    tab.page.goto(path.as_uri())
    if context.get("java_script_enabled", True):
        tab.page.evaluate("drawVisible()")
    yield tab
    whole.close()
