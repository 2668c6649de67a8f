"""The script that Streamlit runs for `ruter-dagster dashboard`, after each change of a page. Its arguments: other states."""

from __future__ import annotations

import sys

from ruter_dagster.commands.dashboard_sources import sources
from ruter_dagster.dashboards.app import show

show(lambda: sources(tuple(sys.argv[1:])))
