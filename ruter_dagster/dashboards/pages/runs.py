"""The page Runs and cost: runs of Dagster, their duration and the cost of their jobs."""

from __future__ import annotations

import streamlit as st

from ruter_dagster.dashboards.pages.controls import nothing_to_show
from ruter_dagster.dashboards.pages.page import Context, DashboardPage


def show(context: Context) -> None:
    st.title("Runs and cost")
    nothing_to_show("This page has no data yet.", "See `ruter-dagster cost` and `ruter-dagster dev`.")


PAGE = DashboardPage("Runs and cost", "runs-and-cost", ":material/payments:", show)
