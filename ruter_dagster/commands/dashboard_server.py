"""Streamlit's server for the dashboard: `python -m ruter_dagster.commands.dashboard_server PORT [STATE…]`.

It imports the libraries of the pages before it answers, reads what the first pages show, and names the modules of elements to browsers,
so that a first visit takes little longer than later ones. Variables `STREAMLIT_…` set options, as they do for `streamlit run`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread
from typing import Any

# ruff: noqa: F401
import altair
import click
import streamlit as st
from starlette.middleware import Middleware
from streamlit.web.cli import configurator_options

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
    options = {**environment_options(), **OPTIONS, "server.port": port}
    st.App(SCRIPT, middleware=[preload], lifespan=_lifespan).run(config=options)


def environment_options() -> dict[str, Any]:
    """Streamlit's options that variables set, by name: `server.baseUrlPath` from `STREAMLIT_SERVER_BASE_URL_PATH`.

    `st.App` reads `config.toml` only. Ends the process with a message if a value is invalid.
    """
    command = click.command()(configurator_options(lambda **_: None))
    try:
        values = command.make_context("dashboard", []).params
    except click.UsageError as error:
        sys.exit(f"Streamlit's options: {error.format_message()} Correct or unset the variable.")
    return {name.replace("_", "."): value for name, value in values.items() if value not in (None, ())}


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
