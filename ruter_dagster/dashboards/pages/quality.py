"""The page Data quality: verdicts on tables, results of checks, and rejected visits."""

from __future__ import annotations

import streamlit as st

from ruter_dagster.dashboards.pages.controls import nothing_to_show
from ruter_dagster.dashboards.pages.page import Context, DashboardPage


def show(context: Context) -> None:
    st.title("Data quality")
    nothing_to_show("This page has no data yet.", "See the quality reports of `ruter-dagster dev`.")


PAGE = DashboardPage("Data quality", "data-quality", ":material/fact_check:", show)
