"""The stored state reports existing dates, verdicts and models, and no deleted ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ruter_dagster.config.settings import Settings
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.catalog import local_catalog
from ruter_dagster.storage.registry import ModelRegistry
from ruter_dagster.storage.stored_state import StoredState, local_versions
from ruter_dagster.storage.tables import TableStore
from ruter_dagster.storage.verdicts import Verdicts
from tests.storage.frames import DAY, NEXT_DAY, VISITS, visits
from tests.storage.test_registry import RECORD


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, state_dir=tmp_path / "Mine, Ærlig")  # pyright: ignore[reportCallIssue]


@pytest.fixture
def store(settings: Settings) -> TableStore:
    store = TableStore(local_catalog(settings.source_dir / "warehouse"))
    for day in (DAY, NEXT_DAY):
        store.write(VISITS, visits(day), [day], code_version="1")
    return store


def test_local_versions_equal_those_of_the_table_store(store: TableStore, settings: Settings) -> None:
    versions = store.versions(VISITS, [DAY, NEXT_DAY])
    assert len(versions) == 2
    assert local_versions(settings.source_dir / "warehouse" / "catalog.db", VISITS.name) == versions
    assert store.versions_by_name(VISITS.name) == versions
    assert store.versions_by_name("raw.nothing") == {}


def test_stored_dates_are_not_lost(store: TableStore, settings: Settings) -> None:
    versions = store.versions(VISITS, [DAY, NEXT_DAY])
    state = StoredState.of(settings)
    assert state.lost_dates(VISITS.name, versions) == set()
    assert state.lost_dates(VISITS.name, {**versions, DAY: "other rows"}) == {DAY}


@pytest.mark.parametrize("deleted", ["warehouse", "warehouse/catalog.db", "warehouse/tables"])
def test_deleted_warehouse_has_lost_all_dates(store: TableStore, settings: Settings, deleted: str) -> None:
    versions = store.versions(VISITS, [DAY, NEXT_DAY])
    path = settings.source_dir / deleted
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert StoredState.of(settings).lost_dates(VISITS.name, versions) == {DAY, NEXT_DAY}


def test_rows_without_a_verdict_are_unjudged(store: TableStore, settings: Settings) -> None:
    artifacts = ArtifactStore.at(settings.artifacts_location)
    version = store.versions(VISITS, [DAY])[DAY]
    Verdicts(artifacts).record(VISITS, DAY, version, {"passed": False, "failed": ["x"]}, "file:///report")
    Verdicts(artifacts).record(VISITS, NEXT_DAY, "other rows", {"passed": True}, "file:///report")
    days = {DAY, NEXT_DAY, NEXT_DAY.replace(day=30)}
    assert StoredState.of(settings).unjudged_dates(VISITS.name, days) == {NEXT_DAY}


def test_models_and_champions_need_their_files(settings: Settings) -> None:
    from datetime import UTC, datetime

    registry, state = ModelRegistry(ArtifactStore.at(settings.artifacts_location)), StoredState.of(settings)
    assert not state.has_model(RECORD.version)
    registry.save(RECORD, {})
    assert state.has_model(RECORD.version) and not state.has_champion(RECORD.version)
    registry.promote(RECORD.name, RECORD.version, datetime(2026, 11, 20, tzinfo=UTC), {})
    assert state.has_champion(RECORD.version)
