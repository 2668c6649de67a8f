"""A state for the dashboard, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ruter_dagster.dashboards.engine import Engine, TableReader
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.tables import TableStore
from tests.dashboards.state import write_state


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a state, as RUTER_STATE_DIR names it. Tests only read it."""
    folder = tmp_path_factory.mktemp("dashboard") / "state"
    write_state(TableStore(local_catalog(folder / "demo" / "warehouse")))
    return folder


@pytest.fixture(scope="session")
def store(state: Path) -> TableStore:
    return TableStore(local_catalog(state / "demo" / "warehouse"))


@pytest.fixture
def reader(store: TableStore) -> TableReader:
    return Engine(store).reader()
