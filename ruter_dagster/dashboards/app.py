"""The dashboard's navigation, and the error that a page cannot be drawn. `commands/dashboard_script.py` calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.dashboards.pages import compare, quality, runs, skill, tomorrow, yesterday
from ruter_dagster.dashboards.pages.controls import noted_values, unknown_value
from ruter_dagster.dashboards.pages.page import CachedReader, Context, DashboardPage
from ruter_dagster.dashboards.sources import Sources

PAGES: Sequence[DashboardPage] = (
    tomorrow.PAGE,
    yesterday.PAGE,
    skill.PAGE,
    compare.PAGE,
    quality.PAGE,
    runs.PAGE,
)
"""The pages in the order of the navigation."""
_STYLE = """<style>
[data-testid=stMainBlockContainer] { padding: 3rem 2rem; }
[data-testid=stMainBlockContainer] h1 { font-size: 2rem; padding-top: 0; }
</style>"""
"""Less space around a page and its title, so that tables fit on narrow screens."""
SIDEBAR_WIDTH = 220
"""Pixels that show the longest title of a page."""


def show(open_sources: Callable[[], Sources]) -> None:
    """Draws the page of the address. Streamlit calls this again after each change of a filter."""
    st.set_page_config(
        page_title="Passenger load forecasts",
        page_icon="🚌",
        layout="wide",
        initial_sidebar_state=SIDEBAR_WIDTH,
    )
    try:
        sources = open_sources()
    except PermanentFailure as failure:
        st.error(str(failure), icon=":material/error:")
        return
    context = Context(sources, CachedReader(sources.engine.reader(), sources.state))
    pages = [
        st.Page(
            _drawn(page, context), title=page.title, url_path=page.path, icon=page.icon, default=number == 0
        )
        for number, page in enumerate(PAGES)
    ]
    page = st.navigation(pages)
    st.html(_STYLE)
    page.run()
    st.sidebar.markdown(f"State: `{sources.state}`")


def _drawn(page: DashboardPage, context: Context) -> Callable[[], None]:
    def draw() -> None:
        warning = st.empty()
        with noted_values() as notes:
            notes += _unknown_page()
            try:
                page.show(context)
            except PermanentFailure as failure:
                st.error(str(failure), icon=":material/error:")
        if notes:
            warning.warning("\n\n".join(notes), icon=":material/warning:")

    return draw


def _unknown_page() -> list[str]:
    """A sentence about a page in the address that does not exist. Streamlit shows the first page in its place."""
    # `st.context.url` includes the path of a proxy, which only the browser knows. The browser sends the page's name without it.
    context = get_script_run_ctx()
    name = context.pages_manager.intended_page_name if context else None
    if not name or name in {page.path for page in PAGES}:
        return []
    return [unknown_value("page", name, PAGES[0].title)]
