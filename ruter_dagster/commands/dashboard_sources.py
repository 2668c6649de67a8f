"""What the dashboard shows, from the settings: the tables of their state and of other states, verdicts, reports and runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from ruter_dagster.commands.dashboard_runs import runs_reader
from ruter_dagster.commands.report_server import report_page
from ruter_dagster.commands.states import find_state
from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import load_settings
from ruter_dagster.dashboards.engine import Engine
from ruter_dagster.dashboards.sources import Sources
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.configured_tables import open_existing_tables
from ruter_dagster.storage.verdicts import Verdicts


@st.cache_resource(show_spinner=False)
def sources(other_states: Sequence[str]) -> Sources:
    """The tables of the settings and of other states. Their connections are opened once for all sessions."""
    settings = load_settings()
    states = [find_state(settings, name) for name in other_states]
    time_zone = operator_of(settings).time_zone
    verdicts = Verdicts(ArtifactStore.at(settings.artifacts_location, settings.aws_region))
    return Sources(
        engine=Engine(open_existing_tables(settings)),
        state=settings.database if settings.lake_dir else _short(settings.source_dir),
        time_zone=time_zone,
        verdicts=verdicts.by_date,
        runs=runs_reader(settings, time_zone),
        crowded_probability=settings.crowded_probability,
        demo=settings.source == "demo",
        report_page=report_page(settings),
        others={state.label: Engine(state.store) for state in states},
    )


def _short(folder: Path) -> str:
    """The last two parts of a folder, for example state/demo."""
    return "/".join(folder.parts[-2:])
