"""A clone starts with the tables, verdicts and models of another state, without copying rows, and never changes that state."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ruter_dagster.contracts.errors import StateUnavailable
from ruter_dagster.contracts.jobs import MODEL_NAME
from ruter_dagster.contracts.tables import DRIFT, LOAD_FORECASTS, STOP_LOADS
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.catalog import glue_catalog, local_catalog
from ruter_dagster.storage.clone_record import CloneRecord
from ruter_dagster.storage.clones import (
    Clone,
    clone_state,
    cloned_from,
    pinned_snapshot,
)
from ruter_dagster.storage.registry import ModelRecord, ModelRegistry
from ruter_dagster.storage.tables import TableStore
from ruter_dagster.storage.verdicts import Verdicts
from sagemaker_double.control import Remote
from sagemaker_double.settings import Settings
from tests.commands.compared_states import ISSUE_DATE, ISSUE_DATES, NEXT, drift, forecasts, loads, write

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")
ONE_DATE = forecasts(days=[ISSUE_DATE]).head(40)


@pytest.fixture
def original(tmp_path: Path) -> TableStore:
    """A state with forecasts of two issue dates."""
    store = local_store(tmp_path / "original")
    write(store, forecasts())
    return store


def local_store(folder: Path, **options: Any) -> TableStore:
    return TableStore(local_catalog(folder / "warehouse"), **options)


def clone(source: TableStore, folder: Path, **options: Any) -> tuple[Clone, TableStore]:
    target = local_store(folder, **options)
    artifacts = ArtifactStore.at(folder / "artifacts")
    return clone_state(source, target, artifacts, None, "original"), target


def content(folder: Path) -> dict[str, str]:
    """The hash of each file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def files_of(store: TableStore) -> set[str]:
    loaded = store.load(LOAD_FORECASTS)
    assert loaded is not None
    return {task.file.file_path for task in loaded.scan().plan_files()}


def test_clone_reads_the_rows_of_the_original_without_a_copy(original: TableStore, tmp_path: Path) -> None:
    _, cloned = clone(original, tmp_path / "clone")
    assert cloned.read(LOAD_FORECASTS, ISSUE_DATES).equals(original.read(LOAD_FORECASTS, ISSUE_DATES))
    assert cloned.versions(LOAD_FORECASTS, ISSUE_DATES) == original.versions(LOAD_FORECASTS, ISSUE_DATES)
    assert files_of(cloned) == files_of(original)
    assert not list((tmp_path / "clone").rglob("*.parquet"))


def test_many_writes_of_a_clone_leave_every_file_of_the_original(
    original: TableStore, tmp_path: Path
) -> None:
    """Iceberg deletes metadata files after 20 commits, and snapshots expire after 21 writes here."""
    for number in range(3):
        write(original, forecasts(2 + number, [ISSUE_DATE]))
    before = content(tmp_path / "original")
    _, cloned = clone(original, tmp_path / "clone", keep_snapshots=1, keep_for=timedelta(0))
    for number in range(25):
        write(cloned, ONE_DATE.with_columns(mean=float(number) + ONE_DATE["mean"]))
    assert content(tmp_path / "original") == before
    assert cloned.read(LOAD_FORECASTS, [ISSUE_DATE]).height == 40
    new = files_of(cloned) - files_of(original)
    assert new and all(str(tmp_path / "clone") in file for file in new)


def test_clone_keeps_the_pinned_snapshot(original: TableStore, tmp_path: Path) -> None:
    made, cloned = clone(original, tmp_path / "clone", keep_snapshots=1, keep_for=timedelta(0))
    for number in range(25):
        write(cloned, ONE_DATE.with_columns(mean=float(number) + ONE_DATE["mean"]))
    pinned = pinned_snapshot(cloned, LOAD_FORECASTS)
    assert pinned.snapshot_id == made.snapshots[LOAD_FORECASTS.name]
    assert pinned.versions(ISSUE_DATES) == original.versions(LOAD_FORECASTS, ISSUE_DATES)
    assert pinned.read([ISSUE_DATE]).equals(original.read(LOAD_FORECASTS, [ISSUE_DATE]))


def test_later_commits_of_the_original_do_not_reach_the_clone(original: TableStore, tmp_path: Path) -> None:
    rows = original.read(LOAD_FORECASTS, ISSUE_DATES)
    made, cloned = clone(original, tmp_path / "clone")
    write(original, forecasts(1.5))
    assert cloned.current_snapshot(LOAD_FORECASTS) == made.snapshots[LOAD_FORECASTS.name]
    assert cloned.read(LOAD_FORECASTS, ISSUE_DATES).equals(rows)


def test_clone_says_where_it_comes_from(original: TableStore, tmp_path: Path) -> None:
    made, cloned = clone(original, tmp_path / "clone")
    pin = cloned_from(cloned, LOAD_FORECASTS)
    assert pin and (pin.source, pin.snapshot_id) == ("original", made.snapshots[LOAD_FORECASTS.name])
    assert cloned_from(original, LOAD_FORECASTS) is None
    assert cloned_from(cloned, DRIFT) is None
    assert pinned_snapshot(cloned, DRIFT).dates() == []


def test_garbage_collection_is_off_in_a_clone(original: TableStore, tmp_path: Path) -> None:
    _, cloned = clone(original, tmp_path / "clone")
    loaded = cloned.load(LOAD_FORECASTS)
    assert loaded and loaded.properties["gc.enabled"] == "false"


def test_second_clone_replaces_the_first(original: TableStore, tmp_path: Path) -> None:
    _, cloned = clone(original, tmp_path / "clone")
    write(cloned, forecasts(3.0))
    cloned.write(DRIFT, drift(NEXT, "ok"), [NEXT], code_version="1")
    write(original, forecasts(1.5))
    _, again = clone(original, tmp_path / "clone")
    assert again.read(LOAD_FORECASTS, ISSUE_DATES).equals(original.read(LOAD_FORECASTS, ISSUE_DATES))
    assert again.dates(DRIFT) == [], "the original has no drift"


def test_verdicts_on_the_present_rows_are_copied(original: TableStore, tmp_path: Path) -> None:
    original.write(STOP_LOADS, loads([NEXT]), [NEXT], code_version="1")
    versions = original.versions(STOP_LOADS, [NEXT])
    verdicts = Verdicts(ArtifactStore.at(tmp_path / "original" / "artifacts"))
    verdicts.record(STOP_LOADS, NEXT, versions[NEXT], {"passed": True}, "report.html")
    verdicts.record(STOP_LOADS, NEXT, "0" * 16, {"passed": False}, "of earlier rows")
    made, _ = clone(original, tmp_path / "clone")
    Verdicts(ArtifactStore.at(tmp_path / "clone" / "artifacts")).require(STOP_LOADS, versions)
    assert made.verdicts == 1


def test_champions_of_the_issue_dates_are_copied(original: TableStore, tmp_path: Path) -> None:
    registry = ModelRegistry(ArtifactStore.at(tmp_path / "original" / "artifacts"))
    for version, days in (("old", 30), ("used", 5), ("newest", 0)):
        record = model(version, ISSUE_DATE - timedelta(days))
        registry.save(record, {"model.json.txt": version.encode()})
        registry.promote(MODEL_NAME, version, datetime(2026, 11, 20, tzinfo=UTC), {})
    registry.save(model("never promoted", ISSUE_DATE), {"model.json.txt": b"trees"})
    made, _ = clone(original, tmp_path / "clone")
    copies = ModelRegistry(ArtifactStore.at(tmp_path / "clone" / "artifacts"))
    assert copies.newest_champion(MODEL_NAME, ISSUE_DATE - timedelta(1)) == "used"
    assert copies.newest_champion(MODEL_NAME, ISSUE_DATE) == "newest"
    assert copies.file(copies.load(MODEL_NAME, "used"), "model.json.txt") == b"used"
    assert not copies.exists(MODEL_NAME, "old") and not copies.exists(MODEL_NAME, "never promoted")
    assert made.models == 2


def test_record_has_models_and_dates_of_the_original(original: TableStore, tmp_path: Path) -> None:
    version = "0123456789abcdef"
    write(original, forecasts(days=[NEXT]).with_columns(model_version=pl.lit(version)))
    write(original, forecasts(days=[ISSUE_DATE]).with_columns(model_version=pl.lit(None, pl.String)))
    made, cloned = clone(original, tmp_path / "clone")
    write(cloned, forecasts(2.0).with_columns(model_version=pl.lit("f" * 16)))
    record = CloneRecord.find(ArtifactStore.at(tmp_path / "clone" / "artifacts"))
    assert record == CloneRecord(
        "original",
        made.snapshots[LOAD_FORECASTS.name],
        {ISSUE_DATE: None, NEXT: version},
        {LOAD_FORECASTS.name: ISSUE_DATES},
    )
    assert CloneRecord.find(ArtifactStore.at(tmp_path / "original" / "artifacts")) is None


def model(version: str, cutoff: date) -> ModelRecord:
    return ModelRecord(MODEL_NAME, version, cutoff, {}, "1", {}, ("hour",))


def test_state_without_forecasts_is_refused_and_nothing_is_dropped(tmp_path: Path) -> None:
    cloned = local_store(tmp_path / "clone")
    write(cloned, forecasts())
    with pytest.raises(StateUnavailable, match="original has no forecasts"):
        clone(local_store(tmp_path / "empty"), tmp_path / "clone")
    assert cloned.dates(LOAD_FORECASTS) == list(ISSUE_DATES)


def test_clone_in_the_glue_catalog_changes_nothing_in_the_original(
    sagemaker_double: Remote, aws: Any
) -> None:
    region = Settings.region
    for bucket in ("prod-lake", "sandbox-lake"):
        aws("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
    prod = TableStore(glue_catalog("s3://prod-lake/prod/demo/warehouse", region), "rd_prod")
    write(prod, forecasts())
    before = bucket_content(aws, "prod-lake"), glue_tables(aws)
    # As in AWS, the properties of the sandbox open both databases.
    warehouse = glue_catalog("s3://sandbox-lake/s-seats-1a2b3c/demo/warehouse", region)
    sandbox = TableStore(warehouse, "rd_s_seats_1a2b3c")
    artifacts = ArtifactStore.at("s3://sandbox-lake/s-seats-1a2b3c/demo/artifacts", region)
    for _ in range(2):
        clone_state(TableStore(warehouse, "rd_prod"), sandbox, artifacts, region, "rd_prod")
        assert sandbox.read(LOAD_FORECASTS, ISSUE_DATES).equals(prod.read(LOAD_FORECASTS, ISSUE_DATES))
        write(sandbox, forecasts(2.0))
    assert (bucket_content(aws, "prod-lake"), glue_tables(aws)) == before
    assert all(key.startswith("s-seats-1a2b3c/demo/") for key in bucket_content(aws, "sandbox-lake"))


def bucket_content(aws: Any, bucket: str) -> dict[str, str]:
    listed = aws("s3").list_objects_v2(Bucket=bucket).get("Contents", ())
    return {item["Key"]: item["ETag"] for item in listed}


def glue_tables(aws: Any) -> str:
    tables = aws("glue").get_tables(DatabaseName="rd_prod")["TableList"]
    return json.dumps([table["Parameters"] for table in tables], sort_keys=True)
