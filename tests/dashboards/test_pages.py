"""The pages in Chromium, as a person uses them: what they say, filters in the address, downloads, the keyboard, colours.

Debian's package `chromium` is needed. Without it, the tests are skipped, except in CI.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.dashboard import ISSUE_DATE
from benchmarks.dashboard_browser import (
    PATHS,
    browser,
    chromium_path,
    free_port,
    load,
    served,
    wait_until_drawn,
)
from tests.dashboards.contrast import low_contrasts
from tests.dashboards.state import TOMORROW, YESTERDAY

pytestmark = [
    pytest.mark.extended,
    pytest.mark.skipif(
        chromium_path() is None and not os.environ.get("CI"),
        reason="no chromium: install Debian's package chromium",
    ),
]
SENTENCES = {
    "": "The most crowded departure is line",
    "yesterday": "The worst forecast was line",
    "skill-and-drift": "Yes: the model's errors are",
    "compare": "The challenger's WAPE is",
    "data-quality": "are refused to every reader",
    "runs-and-cost": "This state has no history of runs.",
}
EXCEPTION = "[data-testid=stException], [data-testid=stAlertContentError]"


@pytest.fixture(scope="module")
def address(state: Path) -> Iterator[str]:
    """The address of a dashboard of the state, compared with itself."""
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUTER_STATE_DIR", str(state))
        patch.setenv("RUTER_ENVIRONMENT", "local")
        with served(port, ["--with", str(state / "demo")]):
            yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


def select(page: Page, label: str, option: str) -> None:
    """Chooses an option of a list with the keyboard."""
    field = page.get_by_role("combobox", name=re.compile(label))
    field.click()
    field.fill(option)
    page.get_by_role("option", name=option, exact=True).first.click()
    wait_until_drawn(page)


def parameters(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


@pytest.mark.parametrize("path", PATHS)
def test_page_is_drawn_and_asks_nothing_of_the_internet(address: str, chromium: Browser, path: str) -> None:
    page = chromium.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    hosts: set[str | None] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.goto(f"{address}/{path}")
    wait_until_drawn(page)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.locator(EXCEPTION).all_inner_texts() == []
    if sentence := SENTENCES.get(path):
        expect(page.get_by_text(sentence).first).to_be_visible()
    assert hosts - {None, ""} == {"127.0.0.1"}
    page.context.close()


def test_navigation_leads_to_every_page(address: str, chromium: Browser) -> None:
    page = load(chromium, address)
    links = page.get_by_test_id("stSidebarNavLink")
    expect(links).to_have_count(len(PATHS))
    links.filter(has_text="Yesterday").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Yesterday")
    page.context.close()


def test_filter_changes_the_address_and_the_address_the_filter(address: str, chromium: Browser) -> None:
    page = load(chromium, address)
    everything = page.get_by_test_id("stMetricValue").first.inner_text()
    select(page, "^Line", "21")
    page.wait_for_url(re.compile("line=21"))
    expect(page.get_by_test_id("stMetricValue").first).not_to_have_text(everything)
    selected = page.get_by_test_id("stMetricValue").first.inner_text()
    select(page, "^Operating date", str(ISSUE_DATE))
    page.wait_for_url(re.compile(f"date={ISSUE_DATE}"))
    assert parameters(page) == {"line": ["21"], "date": [str(ISSUE_DATE)]}
    shared = load(chromium, f"{address}/?line=21")
    expect(shared.get_by_test_id("stMetricValue").first).to_have_text(selected)
    expect(shared.get_by_text("The most crowded departure is line 21 ").first).to_be_visible()
    page.context.close()
    shared.context.close()


def test_unknown_filter_in_the_address_is_said(address: str, chromium: Browser) -> None:
    page = load(chromium, f"{address}/?line=nonsense&date=2001-01-01")
    warning = page.get_by_test_id("stAlert")
    expect(warning).to_contain_text("unknown operating date, 2001-01-01. Shown: 2026-11-21.")
    expect(warning).to_contain_text("unknown line, nonsense. Shown: all lines.")
    expect(page.get_by_text("Saturday 21 November 2026").first).to_be_visible()
    select(page, "^Mode", "tram")
    expect(warning).to_have_count(0)
    page.context.close()


def test_unknown_page_in_the_address_is_said(address: str, chromium: Browser) -> None:
    page = load(chromium, f"{address}/nonsense")
    expect(page.get_by_test_id("stAlert")).to_contain_text("unknown page, nonsense. Shown: Tomorrow.")
    page.context.close()


def test_csv_has_the_rows_of_the_table(address: str, chromium: Browser, tmp_path: Path) -> None:
    page = load(chromium, f"{address}/yesterday?order=Largest+error")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").first.click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    rows = pl.read_csv(file)
    assert re.fullmatch(r"worst-forecasts-.*Largest-error.*\.csv", file.name) and rows.height == 50
    assert rows["Error"].abs().is_sorted(descending=True) and rows["Likely reason"].null_count() == 0
    assert {"P10", "P90", "operating_date", "line_id", "trip_id", "stop_id"} <= set(rows.columns)
    page.context.close()


def test_line_opens_its_journeys_and_departures(address: str, chromium: Browser) -> None:
    page = load(chromium, f"{address}/yesterday?line=21")
    expect(page.get_by_role("heading", name="Line 21")).to_be_visible()
    expect(page.get_by_text("Green diamonds: observed.")).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(1)
    page.context.close()


def test_click_on_a_row_opens_its_journey(address: str, chromium: Browser) -> None:
    page = load(chromium, address)
    table = page.get_by_test_id("stDataFrame").first.bounding_box()
    assert table is not None
    # The box in front of the sixth row, then a cell of the fourth. The table is drawn on a canvas.
    page.mouse.click(table["x"] + 18, table["y"] + 36 + 35 * 5 + 17)
    page.wait_for_url(re.compile("departure="))
    assert parameters(page).keys() == {"departure"}
    first = page.url
    page.mouse.click(table["x"] + 60, table["y"] + 36 + 35 * 3 + 17)
    page.wait_for_url(lambda url: url != first and "departure=" in url, timeout=60_000)
    page.context.close()


def test_first_click_on_a_worst_forecast_is_shared(address: str, chromium: Browser) -> None:
    page = load(chromium, f"{address}/yesterday")
    table = page.get_by_test_id("stDataFrame").first.bounding_box()
    assert table is not None
    page.mouse.click(table["x"] + 18, table["y"] + 36 + 35 * 5 + 17)
    page.wait_for_url(re.compile("line=.*journey=|journey=.*line="))
    wait_until_drawn(page)
    journey = page.get_by_role("combobox", name=re.compile("^Journey"))
    shown = journey.input_value()
    assert parameters(page)["journey"] == [shown]
    shared = load(chromium, page.url)
    expect(shared.get_by_role("combobox", name=re.compile("^Journey"))).to_have_value(shown)
    page.context.close()
    shared.context.close()


def test_keyboard_reaches_filters_and_downloads(address: str, chromium: Browser) -> None:
    page = load(chromium, address)
    reached: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "() => document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || ''"
            )
        )
    for name in ("Yesterday", "Operating date", "Mode", "Line", "Stop", "Hours", "Download CSV", "Journey"):
        assert any(name in label for label in reached), f"{name} is not reached by Tab: {reached}"
    page.context.close()


def test_filter_is_changed_with_the_keyboard_alone(address: str, chromium: Browser) -> None:
    page = load(chromium, address)
    page.get_by_role("combobox", name=re.compile("^Line")).focus()
    page.keyboard.type("21")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("line=21"))
    page.context.close()


_CUT = """() => [...document.querySelectorAll('[data-testid=stMetric] *')]
  .filter(element => getComputedStyle(element).overflowX !== 'visible' && element.scrollWidth > element.clientWidth + 1)
  .map(element => element.innerText)"""


def test_narrow_page_cuts_no_card_and_no_filter(address: str, chromium: Browser) -> None:
    page = chromium.new_context(viewport={"width": 1024, "height": 900}).new_page()
    for path in ("", "yesterday?line=21"):
        page.goto(f"{address}/{path}")
        wait_until_drawn(page)
        expect(page.get_by_test_id("stMetric").first).to_be_visible()
        assert page.evaluate(_CUT) == []
        filters = page.get_by_role("combobox").all()
        assert min(box["width"] for field in filters if (box := field.bounding_box())) > 100
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", SENTENCES)
def test_text_has_the_contrast_of_wcag_aa(address: str, chromium: Browser, path: str, scheme: str) -> None:
    page = load(chromium, f"{address}/{path}", color_scheme=scheme)
    assert low_contrasts(page) == []
    page.context.close()


def test_missing_state_is_named(chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo" / "warehouse").mkdir(parents=True)
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("RUTER_ENVIRONMENT", "local")
    port = free_port()
    with served(port):
        for path in SENTENCES:
            page = load(chromium, f"http://127.0.0.1:{port}/{path}")
            expect(page.get_by_text("ruter-dagster demo").first).to_be_visible()
            assert page.locator(EXCEPTION).count() == 0
            page.context.close()


def test_dates_come_from_the_data(address: str, chromium: Browser) -> None:
    page = load(chromium, address)
    expect(page.get_by_role("combobox", name=re.compile("^Operating date"))).to_have_value(str(TOMORROW))
    page.goto(f"{address}/yesterday")
    wait_until_drawn(page)
    expect(page.get_by_role("combobox", name=re.compile("^Operating date"))).to_have_value(str(YESTERDAY))
    page.context.close()
