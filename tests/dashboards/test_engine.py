"""The engine reads the rows of a snapshot: DuckDB on the files that pyiceberg plans, on a disk and on S3."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.dashboards.engine import Dates, Engine, Query
from ruter_dagster.storage.catalog import glue_catalog, local_catalog
from ruter_dagster.storage.tables import TableStore
from sagemaker_double.control import Remote
from sagemaker_double.settings import Settings
from tests.publishing.samples import ISSUE_DATE, load_forecasts

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

NEXT = ISSUE_DATE + timedelta(1)
MEANS = Query(
    "Means by issue date",
    'SELECT issue_date, sum(mean) AS mean, count(*) AS departures FROM "${database}"."forecasts_load_forecasts" '
    "WHERE issue_date BETWEEN $first AND $last GROUP BY issue_date ORDER BY issue_date",
    {LOAD_FORECASTS: Dates("first", "last")},
)


def write(store: TableStore, day: date = ISSUE_DATE, factor: float = 1.0) -> pl.DataFrame:
    moved = pl.col("operating_date") + (day - ISSUE_DATE)
    frame = load_forecasts(400).with_columns(
        issue_date=pl.lit(day),
        operating_date=moved,
        **{name: pl.col(name) * factor for name in ("mean", "p10", "p50", "p90")},
    )
    store.write(LOAD_FORECASTS, frame, [day], code_version="1")
    return frame


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    # Signs that SQL, globs and addresses treat as their own.
    return TableStore(local_catalog(tmp_path / "it's [a] state*? 100%"))


def test_rows_of_every_file_are_read(store: TableStore) -> None:
    frames = [write(store, day) for day in (ISSUE_DATE, NEXT)]
    rows = Engine(store).reader().run(MEANS, first=ISSUE_DATE, last=NEXT)
    assert rows["departures"].to_list() == [frame.height for frame in frames]
    assert rows["mean"].to_list() == pytest.approx([frame["mean"].sum() for frame in frames])


def test_files_of_other_dates_are_not_opened(store: TableStore, tmp_path: Path) -> None:
    write(store)
    existing = set(tmp_path.rglob("*.parquet"))
    write(store, NEXT)
    for file in set(tmp_path.rglob("*.parquet")) - existing:
        file.write_bytes(b"no Parquet")
    assert Engine(store).reader().run(MEANS, first=ISSUE_DATE, last=ISSUE_DATE).height == 1


def test_damaged_file_is_reported_with_its_remedy(store: TableStore, tmp_path: Path) -> None:
    write(store)
    for file in tmp_path.rglob("*.parquet"):
        file.write_bytes(b"no Parquet")
    with pytest.raises(PermanentFailure, match=r"A file of forecasts.load_forecasts cannot be read"):
        Engine(store).reader().run(MEANS, first=ISSUE_DATE, last=ISSUE_DATE)


def test_reader_keeps_its_snapshot(store: TableStore) -> None:
    frame = write(store)
    engine = Engine(store)
    reader = engine.reader()
    before = reader.snapshot_id(LOAD_FORECASTS)
    write(store, factor=2.0)
    unchanged = reader.run(MEANS, first=ISSUE_DATE, last=ISSUE_DATE)
    assert unchanged["mean"].item() == pytest.approx(frame["mean"].sum())
    newest = engine.reader()
    assert newest.run(MEANS, first=ISSUE_DATE, last=ISSUE_DATE)["mean"].item() == pytest.approx(
        2 * frame["mean"].sum()
    )
    pinned = newest.run(MEANS, snapshots={LOAD_FORECASTS: before}, first=ISSUE_DATE, last=ISSUE_DATE)
    assert pinned["mean"].item() == pytest.approx(frame["mean"].sum())


def test_missing_table_and_missing_date_have_no_rows(store: TableStore) -> None:
    reader = Engine(store).reader()
    assert reader.dates(LOAD_FORECASTS) == []
    assert reader.run(MEANS, first=ISSUE_DATE, last=NEXT).columns == ["issue_date", "mean", "departures"]
    write(store)
    assert Engine(store).reader().run(MEANS, first=NEXT, last=NEXT).is_empty()


def test_column_that_older_files_lack_is_null(store: TableStore) -> None:
    older = replace(LOAD_FORECASTS, columns=tuple(c for c in LOAD_FORECASTS.columns if c.name != "reasons"))
    store.write(older, load_forecasts(400).drop("reasons"), [ISSUE_DATE], code_version="1")
    reasons = replace(MEANS, sql=MEANS.sql.replace("count(*)", "count(reasons)"))
    assert Engine(store).reader().run(reasons, first=ISSUE_DATE, last=ISSUE_DATE)["departures"].item() == 0
    write(store, NEXT)
    rows = Engine(store).reader().run(reasons, first=ISSUE_DATE, last=NEXT)
    assert rows["departures"].to_list() == [0, 400]


def test_deleted_rows_are_not_read_silently(store: TableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # pyiceberg cannot write delete files, as Spark and Athena do.
    write(store)
    loaded = store.load(LOAD_FORECASTS)
    assert loaded is not None
    tasks = [type("Task", (), {"delete_files": {"deletes.parquet"}})() for _ in loaded.scan().plan_files()]
    monkeypatch.setattr("pyiceberg.table.DataScan.plan_files", lambda scan: tasks)
    with pytest.raises(PermanentFailure, match="Materialise forecasts/load_forecasts again for 2026-11-20"):
        Engine(store).reader().run(MEANS, first=ISSUE_DATE, last=ISSUE_DATE)


def test_tables_in_s3_are_read_with_the_endpoint_of_the_catalog(sagemaker_double: Remote, aws: Any) -> None:
    aws("s3").create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": Settings.region})
    store = TableStore(glue_catalog("s3://lake/dev/demo/warehouse", Settings.region), "rd_dev_demo")
    frame = write(store)
    rows = Engine(store).reader().run(MEANS, first=ISSUE_DATE, last=ISSUE_DATE)
    assert rows["mean"].item() == pytest.approx(frame["mean"].sum())
