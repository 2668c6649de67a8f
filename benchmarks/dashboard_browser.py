"""The dashboard in Chromium: a server of its own, and pages that are loaded until they are drawn. Tests use it too."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import Browser, Page, sync_playwright

PATHS = ("", "yesterday", "skill-and-drift", "compare", "data-quality", "runs-and-cost")
"""The pages, the first at the root."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT = 60_000
"""Milliseconds for a page to be drawn on a busy machine."""
_DRAWN = """() => document.querySelector('[data-testid=stApp]')?.getAttribute('data-test-script-state') === 'notRunning'
  && document.querySelector('h1') && !document.querySelector('[data-testid=stSkeleton]')"""


def chromium_path() -> str | None:
    """The program of Debian's package `chromium`, or another name of it; None if there is none."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(port: int, arguments: Sequence[str] = (), base_path: str = "") -> Iterator[subprocess.Popen[str]]:
    """`ruter-dagster dashboard` with the settings of this process, until it answers. `base_path` is `server.baseUrlPath`."""
    program = Path(sys.executable).with_name("ruter-dagster")
    process = subprocess.Popen(
        [program, "dashboard", "--port", str(port), *arguments],
        env={**os.environ, "RUTER_ENV_FILE": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until_healthy(process, f"http://127.0.0.1:{port}{base_path and '/' + base_path}")
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def wait_until_healthy(process: subprocess.Popen[str], address: str) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"The dashboard has ended: {process.communicate()[0]}")
        try:
            with urlopen(f"{address}/_stcore/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("The dashboard does not answer")


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window, without access to the internet."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        yield chromium
        chromium.close()


def load(chromium: Browser, address: str, **context: str) -> Page:
    """Loads the address in a new session, with an empty cache, until the page is drawn."""
    page = chromium.new_context(viewport={"width": 1400, "height": 1000}, **context).new_page()  # pyright: ignore[reportArgumentType]
    page.goto(address)
    wait_until_drawn(page)
    return page


def wait_until_drawn(page: Page) -> None:
    page.wait_for_function(_DRAWN, timeout=TIMEOUT)


def reload(page: Page) -> None:
    page.reload()
    wait_until_drawn(page)
