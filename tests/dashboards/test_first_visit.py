"""A first visit finds its rows in memory, and its browser learns early which modules it needs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ruter_dagster.commands.dashboard_preload import (
    PreloadModules,
    element_modules,
    link_header,
    streamlit_files,
)
from ruter_dagster.dashboards.data import tomorrow, yesterday
from ruter_dagster.dashboards.engine import Engine
from ruter_dagster.dashboards.pages.page import CachedReader
from ruter_dagster.dashboards.prefetch import prefetch
from ruter_dagster.dashboards.sources import Sources
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore
from tests.dashboards.state import TIME_ZONE

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")


def test_prefetched_pages_run_no_query(store: TableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(store)
    sources = Sources(engine, "prefetched", TIME_ZONE)
    prefetch(sources)
    queries: list[str] = []
    monkeypatch.setattr(engine, "execute", lambda sql, parameters: queries.append(sql) or pl.DataFrame())
    reader = CachedReader(engine.reader(), "prefetched")
    published = tomorrow.newest_published(reader)
    assert published is not None
    selection = tomorrow.Selection(published.operating_dates[1])
    assert tomorrow.totals(reader, published, selection, sources.crowded_probability)["departures"]
    day = yesterday.scored_dates(reader)[0]
    assert yesterday.network_scores(reader, day, day, 1).height == 1
    assert queries == []


def test_state_without_forecasts_has_nothing_to_prefetch(tmp_path: Path) -> None:
    prefetch(Sources(Engine(TableStore(local_catalog(tmp_path))), "empty", TIME_ZONE))


def test_modules_of_tables_and_charts_are_named_with_their_imports() -> None:
    folder = streamlit_files()
    modules = element_modules(folder)
    assert {"DataFrame", "ArrowVegaLiteChart", "Selectbox", "embed"} <= {
        name.split(".")[0] for name in modules
    }
    assert len(set(modules)) == len(modules)
    assert all((folder / "static" / "js" / name).is_file() for name in modules)
    assert not any(name in (folder / "index.html").read_text() for name in modules)


def test_other_layout_of_streamlit_names_no_module(tmp_path: Path) -> None:
    assert element_modules(tmp_path) == []


@pytest.mark.parametrize(
    ("content_type", "links"), [(b"text/html; charset=utf-8", 2), (b"text/javascript", 0)]
)
def test_pages_name_the_modules(content_type: bytes, links: int) -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]}
        )

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(PreloadModules(page, ["a.js", "b.js"])({"type": "http"}, None, send))  # pyright: ignore[reportArgumentType]
    header = dict(sent[0]["headers"]).get(b"link", b"").decode()
    assert header.count("rel=modulepreload") == links
    assert header.startswith("<./static/js/a.js>;" if links else "")


def test_header_of_a_page_fits_a_proxy_with_small_buffers() -> None:
    folder = streamlit_files()
    modules = element_modules(folder)
    header = link_header(modules)
    assert 2_000 < len(header) < 3_000
    sizes = [(folder / "static" / "js" / name).stat().st_size for name in modules]
    named = header.count("rel=modulepreload")
    assert sum(sizes[:named]) > 0.98 * sum(sizes)
