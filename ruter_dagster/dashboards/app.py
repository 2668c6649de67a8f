"""The dashboard's navigation, and the error that a page cannot be drawn. `commands/dashboard_script.py` calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.dashboards.pages import compare, quality, runs, skill, tomorrow, yesterday
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
    st.navigation(pages).run()
    st.sidebar.markdown(f"State: `{sources.state}`")


def _drawn(page: DashboardPage, context: Context) -> Callable[[], None]:
    def draw() -> None:
        try:
            page.show(context)
        except PermanentFailure as failure:
            st.error(str(failure), icon=":material/error:")

    return draw
