"""The state folder may have any name, and nothing is written outside of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.catalog import local_catalog, sqlite_address
from ruter_dagster.storage.experiments import Experiments
from ruter_dagster.storage.tables import TableStore
from tests.storage.frames import DAY, NEXT_DAY, VISITS, visits
from tests.storage.test_registry import RECORD

NAMES = ("Mine prosjekter, Ærlig", "100% #1?", "a%20b", "[ab]*{c}", 'back\\slash\'s "end"', "a:b;c&d=e+f~$g")


@pytest.mark.parametrize("name", NAMES)
def test_tables_work_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "warehouse"
    store = TableStore(local_catalog(folder))
    store.write(VISITS, visits(), [DAY], code_version="1")
    store.write(VISITS, visits(load=1.0), [DAY], code_version="1")
    store.write(VISITS, visits(NEXT_DAY), [NEXT_DAY], code_version="1")

    reopened = TableStore(local_catalog(folder))

    assert reopened.dates(VISITS) == [DAY, NEXT_DAY]
    rows = reopened.read(VISITS, [DAY])
    assert_frame_equal(rows, visits(load=1.0), check_row_order=False, check_dtypes=False)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert {entry.name for entry in folder.iterdir()} == {"catalog.db", "tables"}


@pytest.mark.parametrize("name", NAMES)
def test_artifacts_work_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    store = ArtifactStore.at(str(tmp_path / name))
    store.put("models/one.txt", b"content")
    assert (tmp_path / name / "models" / "one.txt").read_bytes() == b"content"
    assert store.get("models/one.txt") == b"content"
    assert store.list("models/") == ["models/one.txt"]
    assert ArtifactStore.at((tmp_path / name).as_uri()).exists("models/one.txt")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.extended
def test_experiments_work_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "Mine prosjekter, Ærlig"
    experiments = Experiments(sqlite_address(folder / "mlflow.db"), (folder / "files").as_uri())
    run = experiments.record_training(RECORD, "s3://bucket/model", {"importance.csv": b"feature,gain"})
    assert (folder / "files" / RECORD.name / run / "artifacts" / "importance.csv").is_file()
    assert [entry.name for entry in tmp_path.iterdir()] == [folder.name]
