"""Streamlit's server for the dashboard. It imports the libraries of the pages first, so that the first page is as fast as others."""

from __future__ import annotations

# ruff: noqa: F401
import altair
from streamlit.web.cli import main

import ruter_dagster.commands.dashboard_runs
import ruter_dagster.commands.states
from ruter_dagster.dashboards.data import comparison, names, quality, runs, skill, tomorrow, yesterday

if __name__ == "__main__":
    main()
