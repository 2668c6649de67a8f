"""Raw tables from Athena: one UNLOAD per date, the rules of rows, and errors that name the query."""

from __future__ import annotations

import io
import os
import signal
import threading
from datetime import UTC, date, datetime, time
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import polars as pl
import pytest

from ruter_dagster.config.settings import SettingsError, load_settings
from ruter_dagster.contracts.errors import BadInput, PermanentFailure
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, REJECTED_VISITS, STOP_VISITS, WEATHER_FORECASTS
from ruter_dagster.contracts.validation import validate
from ruter_dagster.sources.athena import PollInterval
from ruter_dagster.sources.base import DateAbsent, RangeSource, Source
from ruter_dagster.sources.warehouse import WarehouseSource
from ruter_dagster.sources.warehouse_file import WarehouseFileError, load_warehouse_file
from sagemaker_double.control import Remote
from sagemaker_double.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "examples/warehouse/ruter.toml"
DAY, NEXT_DAY, EMPTY_DAY = date(2026, 11, 20), date(2026, 11, 21), date(2026, 11, 22)
REGION = Settings.region
POLL_INTERVAL = PollInterval(first=0.01, max=0.05)


def at(day: date, minute: int) -> datetime:
    """A time as in Athena: UTC without a zone."""
    return datetime.combine(day, time(7, minute), UTC).replace(tzinfo=None)


def counts(day: date) -> pl.DataFrame:
    """Passenger counts as the example's query expects them: its own names, timestamps in UTC without a zone."""
    return pl.DataFrame(
        {
            "operating_date": [str(day)] * 3,
            "journey_ref": ["j1", "j1", "j2"],
            "call_order": [1, 2, 1],
            "line_ref": ["5", "5", "5"],
            "mode": ["bus", "bus", "tram"],
            "direction": [0, 0, 1],
            "stop_point_ref": ["a", "b", "a"],
            "vehicle_ref": ["v1", "v1", None],
            "aimed_departure_utc": [at(day, minute) for minute in (0, 4, 10)],
            "actual_departure_utc": [at(day, 1), None, None],
            "boarded": [3, 0, 12],
            "alighted": [0, 3, 0],
            "seats": [30, 30, 60],
            "places": [70, 70, 150],
        }
    )


def planned(day: date) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "service_date": [day],
            "trip_id": ["j1"],
            "stop_sequence": pl.Series([1], dtype=pl.Int32),
            "line_id": ["5"],
            "mode": ["bus"],
            "direction_id": pl.Series([0], dtype=pl.Int32),
            "stop_id": ["a"],
            "scheduled_departure_time": [at(day, 0)],
            "seats": pl.Series([30], dtype=pl.Int32),
            "total_capacity": pl.Series([70], dtype=pl.Int32),
        }
    )


@pytest.fixture
def bucket(sagemaker_double: Remote, aws: Any) -> Any:
    """Tables of two dates in S3, registered with Athena."""
    s3 = aws("s3")
    s3.create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": REGION})
    for table, rows in (("passenger_counts", counts), ("planned_departures", planned)):
        for day in (DAY, NEXT_DAY):
            file = io.BytesIO()
            rows(day).write_parquet(file)
            s3.put_object(Bucket="lake", Key=f"warehouse/{table}/{day}.parquet", Body=file.getvalue())
    sagemaker_double.tables(
        **{
            "counts.passenger_counts": "s3://lake/warehouse/passenger_counts/",
            "timetables.planned_departures": "s3://lake/warehouse/planned_departures/",
        }
    )
    return s3


def staged(bucket: Any) -> list[str]:
    objects = bucket.list_objects_v2(Bucket="lake", Prefix="staging/").get("Contents", [])
    return [each["Key"] for each in objects]


def warehouse(file: Path = EXAMPLE, **changes: Any) -> WarehouseSource:
    loaded = load_warehouse_file(str(file)).model_copy(update=changes)
    return WarehouseSource(loaded, "s3://lake/staging", REGION, "Europe/Oslo", poll_interval=POLL_INTERVAL)


def edited(tmp_path: Path, old: str, new: str) -> Path:
    text = EXAMPLE.read_text()
    assert old in text
    (tmp_path / "warehouse.toml").write_text(text.replace(old, new))
    return tmp_path / "warehouse.toml"


def test_warehouse_is_a_range_source(bucket: Any) -> None:
    assert isinstance(warehouse(), Source)
    assert isinstance(warehouse(), RangeSource)
    assert warehouse().available_dates() is None


def test_query_returns_rows_of_the_contract(bucket: Any) -> None:
    rows = warehouse().stop_visits(DAY)
    validate(rows, STOP_VISITS, [DAY])
    assert rows["boardings"].to_list() == [3, 0, 12]
    assert rows["scheduled_departure_time"][0].isoformat() == "2026-11-20T07:00:00+00:00"


def test_table_with_contract_columns_needs_no_query(bucket: Any) -> None:
    rows = warehouse().planned_departures(NEXT_DAY)
    validate(rows, PLANNED_DEPARTURES, [NEXT_DAY])
    assert rows.height == 1


def test_table_missing_in_the_file_is_empty(bucket: Any) -> None:
    assert warehouse().read_table(WEATHER_FORECASTS, [DAY]).rows.is_empty()


def test_range_runs_one_query_per_date_and_lists_absent_dates(bucket: Any) -> None:
    reading = warehouse().read_table(STOP_VISITS, [DAY, NEXT_DAY, EMPTY_DAY])
    assert reading.rows["service_date"].to_list() == [DAY] * 3 + [NEXT_DAY] * 3
    assert reading.absent == (EMPTY_DAY,)
    assert [query.date for query in reading.queries] == [DAY, NEXT_DAY, EMPTY_DAY]


def test_query_reports_scanned_bytes_and_cost(bucket: Any) -> None:
    (query,) = warehouse(price_per_tb=5.0).read_table(STOP_VISITS, [DAY]).queries
    assert query.scanned_bytes > 0
    assert query.cost == pytest.approx(10e6 * 5 / 1e12)  # Athena charges 10 MB at least
    assert query.query_id in query.link
    assert query.link.startswith(f"https://{REGION}.console.aws.amazon.com/athena/")


def test_staging_prefix_is_emptied(bucket: Any, sagemaker_double: Remote) -> None:
    warehouse().read_table(STOP_VISITS, [DAY, NEXT_DAY])
    assert staged(bucket) == []
    sagemaker_double.fault("query_failed")
    with pytest.raises(PermanentFailure):
        warehouse().read_table(STOP_VISITS, [DAY, NEXT_DAY])
    assert staged(bucket) == []


def test_date_without_rows_is_absent(bucket: Any) -> None:
    with pytest.raises(
        DateAbsent, match=r"no row of raw\.stop_visits on 2026-11-22 \(Athena query [0-9a-f-]+, https"
    ):
        warehouse().stop_visits(EMPTY_DAY)


def test_error_of_failed_query_has_id_and_reason(bucket: Any, sagemaker_double: Remote) -> None:
    sagemaker_double.fault("query_failed", message="EXCEEDED_MEMORY_LIMIT: too much")
    with pytest.raises(PermanentFailure) as failure:
        warehouse().stop_visits(DAY)
    message = str(failure.value)
    assert message.startswith("raw.stop_visits on 2026-11-20: Athena query ")
    assert "failed: EXCEEDED_MEMORY_LIMIT: too much. Correct the warehouse file" in message
    assert "console.aws.amazon.com/athena" in message


def test_query_that_failed_in_athena_is_retried_with_another_prefix(
    bucket: Any, sagemaker_double: Remote
) -> None:
    sagemaker_double.fault("query_failed", after_effect=True, count=2)
    reading = warehouse().read_table(STOP_VISITS, [DAY])
    assert reading.rows["boardings"].to_list() == [3, 0, 12], "the rows of the last attempt, each once"
    assert sagemaker_double.calls()["total"]["athena.StartQueryExecution"] == 3
    assert staged(bucket) == []


def test_wrong_query_is_not_retried(bucket: Any, sagemaker_double: Remote) -> None:
    sagemaker_double.fault("query_failed")
    with pytest.raises(PermanentFailure):
        warehouse().stop_visits(DAY)
    assert sagemaker_double.calls()["total"]["athena.StartQueryExecution"] == 1


def test_error_of_missing_column_names_the_query(bucket: Any, tmp_path: Path) -> None:
    file = edited(tmp_path, "  line_ref AS line_id,\n", "")
    with pytest.raises(
        BadInput, match=r"column line_id is missing[\s\S]+Read by Athena query [0-9a-f-]+: https"
    ):
        warehouse(file).stop_visits(DAY)


def test_optional_columns_may_be_left_out(bucket: Any, tmp_path: Path) -> None:
    rows = warehouse(edited(tmp_path, "  CAST(NULL AS integer) AS departure_load,\n", "")).stop_visits(DAY)
    validate(rows, STOP_VISITS, [DAY])
    assert rows["departure_load"].null_count() == 3


def test_query_with_rows_of_another_date_is_refused(bucket: Any, tmp_path: Path) -> None:
    file = edited(tmp_path, "{date} AS service_date", "DATE '2026-11-19' AS service_date")
    with pytest.raises(
        BadInput, match=r"the query for 2026-11-20 returned 3 rows of another service_date, e\.g\. 2026-11-19"
    ):
        warehouse(file).stop_visits(DAY)


@pytest.mark.parametrize(
    ("old", "new", "reason", "kept"),
    [
        ("CAST(boarded AS integer)", "CAST(boarded - 1 AS integer)", "boardings is below 0", 3),
        (
            "  stop_point_ref AS stop_id",
            "  NULLIF(stop_point_ref, 'b') AS stop_id",
            "stop_id has no value",
            2,
        ),
        ("CAST(call_order AS integer)", "CAST(call_order - 1 AS integer)", "stop_sequence is below 1", 1),
    ],
)
def test_bad_rows_of_a_query_are_rejected(
    bucket: Any, tmp_path: Path, old: str, new: str, reason: str, kept: int
) -> None:
    reading = warehouse(edited(tmp_path, old, new)).read_table(STOP_VISITS, [DAY])
    validate(reading.rows, STOP_VISITS, [DAY])
    validate(reading.rejected, REJECTED_VISITS, [DAY])
    assert reading.rows.height == kept
    assert reading.rejected["reason"].unique().to_list() == [reason]
    assert reading.rejected["file"].unique().to_list() == ["Athena query"]
    assert '"trip_id":"j1"' in reading.rejected["row"][0]


def test_bad_rows_of_a_plan_are_rejected(bucket: Any) -> None:
    rows = pl.concat([planned(DAY).with_columns(trip_id=pl.lit(trip)) for trip in ("j1", "j2", "j3")])
    file = io.BytesIO()
    rows.with_columns(
        pl.when(pl.col("trip_id") != "j2").then("stop_id").alias("stop_id"),
        pl.when(pl.col("trip_id") == "j3").then(-30).otherwise("seats").cast(pl.Int32).alias("seats"),
    ).write_parquet(file)
    bucket.put_object(Bucket="lake", Key=f"warehouse/planned_departures/{DAY}.parquet", Body=file.getvalue())

    reading = warehouse().read_table(PLANNED_DEPARTURES, [DAY, NEXT_DAY])

    validate(reading.rows, PLANNED_DEPARTURES, [DAY, NEXT_DAY])
    assert reading.rows.select("trip_id", "seats").rows() == [("j1", 30), ("j3", None), ("j1", 30)]
    assert reading.counts == {"repaired, impossible capacity taken as unknown": 1}
    (row,) = reading.rejected.to_dicts()
    assert (row["service_date"], row["reason"]) == (DAY, "stop_id has no value")
    assert '"trip_id":"j2"' in row["row"]


def test_floats_of_an_integer_column_become_integers(bucket: Any, tmp_path: Path) -> None:
    file = edited(tmp_path, "CAST(boarded AS integer)", "CAST(boarded AS double)")
    assert warehouse(file).stop_visits(DAY)["boardings"].to_list() == [3, 0, 12]


def test_query_beyond_the_time_limit_is_stopped(bucket: Any, sagemaker_double: Remote, aws: Any) -> None:
    sagemaker_double.fault("slow_query", seconds=60)
    with pytest.raises(
        PermanentFailure, match=r"ran for 0\.3 s, and was stopped\. Let it scan less"
    ) as failure:
        warehouse(time_limit_minutes=0.005).stop_visits(DAY)
    query = str(failure.value).split("Athena query ")[1].split()[0]
    wait_until_cancelled(aws, query)


def test_query_queued_too_long_may_be_retried(bucket: Any, sagemaker_double: Remote) -> None:
    sagemaker_double.set(query_queue=60)
    with pytest.raises(TimeoutError, match="was still queued after"):
        warehouse(time_limit_minutes=0.005).stop_visits(DAY)


def test_queries_are_stopped_with_the_process(bucket: Any, sagemaker_double: Remote, aws: Any) -> None:
    """As a job's SIGTERM does: the signal's handler raises in the main thread."""
    sagemaker_double.fault("slow_query", seconds=60, count=None)

    def end() -> None:
        sagemaker_double.wait(
            lambda: sagemaker_double.calls()["total"].get("athena.GetQueryExecution", 0) >= 4, about="queries"
        )
        os.kill(os.getpid(), signal.SIGTERM)

    former = signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit(143)))
    killer = threading.Thread(target=end)
    killer.start()
    try:
        with pytest.raises(SystemExit):
            warehouse().read_table(STOP_VISITS, [DAY, NEXT_DAY])
    finally:
        killer.join()
        signal.signal(signal.SIGTERM, former)
    assert sagemaker_double.calls()["total"]["athena.StopQueryExecution"] == 2
    assert staged(bucket) == []


def test_at_once_limits_parallel_queries(bucket: Any, sagemaker_double: Remote) -> None:
    sagemaker_double.fault("slow_query", seconds=0.2, count=None)
    began = monotonic()
    warehouse(at_once=1).read_table(STOP_VISITS, [DAY, NEXT_DAY, EMPTY_DAY])
    assert monotonic() - began > 0.6
    assert sagemaker_double.calls()["total"]["athena.StartQueryExecution"] == 3


@pytest.mark.parametrize("operation", ["athena.StartQueryExecution", "athena.GetQueryExecution"])
def test_throttled_request_is_retried(bucket: Any, sagemaker_double: Remote, operation: str) -> None:
    sagemaker_double.fault("error", operations=operation, code="TooManyRequestsException", count=2)
    assert warehouse().stop_visits(DAY).height == 3


def test_lost_start_response_starts_no_second_query(bucket: Any, sagemaker_double: Remote) -> None:
    sagemaker_double.fault("lost_answer", operations="athena.StartQueryExecution")
    (query,) = warehouse().read_table(STOP_VISITS, [DAY]).queries
    assert query.query_id


def test_error_names_missing_permission(bucket: Any, sagemaker_double: Remote) -> None:
    sagemaker_double.fault("error", operations="athena.Start*", code="AccessDeniedException", count=None)
    with pytest.raises(
        PermanentFailure, match=r"raw\.stop_visits on 2026-11-20: Athena refuses: .* Grant the role"
    ):
        warehouse().stop_visits(DAY)


def test_settings_name_the_file_and_the_staging_prefix(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket.put_object(Bucket="lake", Key="settings/ruter.toml", Body=EXAMPLE.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUTER_SOURCE", "warehouse")
    monkeypatch.setenv("RUTER_WAREHOUSE_FILE", "s3://lake/settings/ruter.toml")
    with pytest.raises(SettingsError, match="set RUTER_LAKE, or `staging`"):
        WarehouseSource.of(load_settings())
    settings = load_settings(lake="s3://lake/tables", mlflow_tracking_uri="http://mlflow")
    assert settings.source_name.startswith("warehouse-ruter-")
    assert WarehouseSource.of(settings).planned_departures(DAY).height == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{date_text}", "'2026-11-20' AND {day}", "day is not a placeholder; allowed: {date}, {date_text}, {date_compact}"),
        ("operating_date = {date_text}", "true; DROP TABLE counts", "without a semicolon"),
        ("\nSELECT", "\nDELETE", "allowed: one SELECT, or WITH … SELECT"),
        ('table = "timetables.planned_departures"', 'table = "plans; DROP"', "allowed: a name of letters"),
        ("at_once = 5", "at_once = 50", "at_once = 50: Input should be less than or equal to 20"),
        ("workgroup =", "work_group =", "Unknown key work_group"),
        ("[tables.planned_departures]", "[tables.plans]", "tables.planned_departures is missing"),
        ('table = "timetables.planned_departures"', "", "set either `query` or `table`"),
        ('catalog = "AwsDataCatalog"', "catalog = AwsDataCatalog", "is not valid TOML"),
    ],
)  # fmt: skip
def test_error_names_allowed_values(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(WarehouseFileError) as failure:
        load_warehouse_file(str(edited(tmp_path, old, new)))
    assert message in str(failure.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WarehouseFileError, match=r"none\.toml does not exist; check RUTER_WAREHOUSE_FILE"):
        load_warehouse_file(str(tmp_path / "none.toml"))


def wait_until_cancelled(aws: Any, query: str) -> None:
    due = monotonic() + 120
    while monotonic() < due:
        execution = aws("athena").get_query_execution(QueryExecutionId=query)["QueryExecution"]
        if execution["Status"]["State"] == "CANCELLED":
            return
        sleep(0.05)
    raise AssertionError(f"{query} goes on")
