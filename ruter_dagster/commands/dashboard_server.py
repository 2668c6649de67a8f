"""Streamlit's server for the dashboard: `python -m ruter_dagster.commands.dashboard_server PORT [STATE…]`.

It imports the libraries of the pages before it answers, reads what the first pages show, and names the modules of all elements to
browsers, so that a first visit takes little longer than later ones.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread
from typing import Any

# ruff: noqa: F401
import altair
import streamlit as st
from starlette.middleware import Middleware

from ruter_dagster.commands.dashboard import OPTIONS, SCRIPT
from ruter_dagster.commands.dashboard_preload import PreloadModules, element_modules, streamlit_files
from ruter_dagster.commands.dashboard_sources import sources
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.dashboards.data import (
    comparison,
    exceptions,
    names,
    quality,
    runs,
    skill,
    tomorrow,
    yesterday,
)


def main() -> None:
    port = int(sys.argv.pop(1))
    # The other arguments are those of the script.
    preload = Middleware(PreloadModules, modules=element_modules(streamlit_files()))
    st.App(SCRIPT, middleware=[preload], lifespan=_lifespan).run(config={**OPTIONS, "server.port": port})


@asynccontextmanager
async def _lifespan(app: st.App) -> AsyncIterator[dict[str, Any]]:
    """Starts to read what the first pages show once the server has started. The server does not wait for it."""
    Thread(target=_prefetch, daemon=True).start()
    yield {}


def _prefetch() -> None:
    # Streamlit's caches warn if they are imported before the server runs.
    from ruter_dagster.dashboards.prefetch import prefetch

    try:
        prefetch(sources(tuple(sys.argv[1:])))
    except PermanentFailure:
        # The page shows the same error with its remedy.
        return


if __name__ == "__main__":
    main()
