"""The dashboard below a path, in Chromium: with Streamlit's `server.baseUrlPath`, and behind a proxy that adds a path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from benchmarks.dashboard_browser import browser, chromium_path, free_port, served, wait_until_drawn
from tests.dashboards.prefix_proxy import prefix_proxy

pytestmark = [
    pytest.mark.extended,
    pytest.mark.skipif(
        chromium_path() is None and not os.environ.get("CI"),
        reason="no chromium: install Debian's package chromium",
    ),
]


@pytest.fixture(scope="module", params=["baseUrlPath", "proxy"])
def address(request: pytest.FixtureRequest, state: Path) -> Iterator[str]:
    """The address of a dashboard whose pages are below the path `dash`."""
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUTER_STATE_DIR", str(state))
        patch.setenv("RUTER_ENVIRONMENT", "local")
        if request.param == "proxy":
            with served(port), prefix_proxy(free_port(), port, "dash") as address:
                yield address
        else:
            patch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", "dash")
            with served(port, base_path="dash"):
                yield f"http://127.0.0.1:{port}/dash"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.mark.parametrize(("path", "title"), [("/", "Tomorrow"), ("/yesterday", "Yesterday")])
def test_page_below_a_path_loads_without_a_warning(
    address: str, chromium: Browser, path: str, title: str
) -> None:
    page = chromium.new_page()
    modules: dict[str, int] = {}
    page.on("response", lambda response: modules.update({response.url: response.status}))
    page.goto(address + path)
    wait_until_drawn(page)
    expect(page.get_by_role("heading", level=1)).to_contain_text(title)
    expect(page.get_by_test_id("stAlert").get_by_text("unknown page")).to_have_count(0)
    scripts = {url: status for url, status in modules.items() if "/static/js/" in url}
    assert any("/DataFrame." in url for url in scripts)
    assert set(scripts.values()) == {200}
    page.close()


def test_unknown_page_below_a_path_is_said(address: str, chromium: Browser) -> None:
    page = chromium.new_page()
    page.goto(f"{address}/nonsense")
    wait_until_drawn(page)
    expect(page.get_by_test_id("stAlert")).to_contain_text("unknown page, nonsense. Shown: Tomorrow.")
    page.close()
