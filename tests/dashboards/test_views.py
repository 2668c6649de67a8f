"""The SQL of Athena's views gives what polars computes from the same rows. DuckDB runs it, after sqlglot has translated it.

DuckDB has other types than Athena, so sqlglot derives the types of the results from the contract.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl
import pytest
import sqlglot
from polars.testing import assert_frame_equal
from sqlglot import exp
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify

from ruter_dagster.contracts.all_tables import TABLES
from ruter_dagster.contracts.scores import LINE_SCORES
from ruter_dagster.contracts.tables import DRIFT, FORECAST_PERFORMANCE
from ruter_dagster.contracts.validation import conform, validate
from ruter_dagster.dashboards.views import DEPARTURE_DAYS, VIEWS
from ruter_dagster.forecasting.forecast_performance import forecast_performance
from ruter_dagster.forecasting.scores import departure_scores, score_sums
from tests.commands.compared_states import drift, forecasts, loads

TODAY = datetime.now(UTC).date()
DAYS = (TODAY - timedelta(1), TODAY - timedelta(DEPARTURE_DAYS - 2), TODAY - timedelta(DEPARTURE_DAYS + 2))
"""Two dates that the view of departures shows, and one that is too old for it."""
DATABASE = "rd_s_views_1a2b3c"
ATHENA_TYPES = {
    "string": "varchar", "int32": "integer", "int64": "bigint", "float64": "double", "boolean": "boolean", "date": "date",
    "timestamp": "timestamp",
}  # fmt: skip
"""What Athena makes of the types of the contract in Iceberg."""
Run = Callable[[str], pl.DataFrame]


def performance() -> pl.DataFrame:
    """Forecast performance of three dates. Some departures have no seats or baseline, some loads exceed P90 or the seats."""
    sample = forecasts()
    dates = sample["operating_date"].unique().sort()[: len(DAYS)].to_list()
    number = pl.int_range(pl.len())
    joined, _ = forecast_performance(sample, loads(dates, factor=1.3))
    shown = (
        joined.filter(pl.col("operating_date").is_in(dates))
        .with_columns(
            operating_date=pl.col("operating_date").replace_strict(dates, DAYS),
            seats=pl.when(number % 5 > 0).then("seats"),
            ha4=pl.when(number % 7 > 0).then(pl.col("load") * 1.1 + 1),
            p10=pl.col("mean") * 0.8,
            p90=pl.col("mean") * pl.when(number % 3 > 0).then(1.2).otherwise(1.4),
            prob_above_seats=pl.when(number % 5 > 0).then(0.25),
        )
        .with_columns(departure_scores())
    )
    validate(shown, FORECAST_PERFORMANCE, set(DAYS))
    return shown


PERFORMANCE = performance()
MEASURES = conform(
    pl.concat(
        [drift(day, verdict) for day, verdict in zip(DAYS, ("ok", "warn", "act"), strict=True)]
    ).with_columns(detail=pl.when(pl.col("verdict") != "ok").then(pl.lit("line 31, line 37"))),
    DRIFT,
)


@pytest.fixture(scope="module")
def run() -> Run:
    """Runs a view's SQL, and returns its rows."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f'CREATE SCHEMA "{DATABASE}"')
    scores, _ = score_sums(PERFORMANCE, PERFORMANCE, crowded_probability=0.2)
    for table, frame in ((FORECAST_PERFORMANCE, PERFORMANCE), (LINE_SCORES, scores), (DRIFT, MEASURES)):
        connection.register("frame", frame.to_arrow())
        connection.execute(
            f'CREATE TABLE "{DATABASE}"."{table.name.replace(".", "_")}" AS SELECT * FROM frame'
        )
        connection.unregister("frame")

    def run_view(name: str) -> pl.DataFrame:
        sql = VIEWS[name].sql.replace("${database}", DATABASE)
        (translated,) = sqlglot.transpile(sql, read="athena", write="duckdb")
        return pl.from_arrow(connection.sql(translated).to_arrow_table())  # pyright: ignore[reportReturnType]

    return run_view


@pytest.mark.parametrize("name", VIEWS)
def test_columns_are_those_that_are_declared(run: Run, name: str) -> None:
    assert run(name).columns == list(VIEWS[name].columns)


@pytest.mark.parametrize("name", VIEWS)
def test_sql_is_athenas_over_tables_of_the_contract(name: str) -> None:
    query = sqlglot.parse_one(VIEWS[name].sql, dialect="athena")
    read = {table.name: table.db for table in query.find_all(exp.Table)}
    assert read.keys() <= {table.name.replace(".", "_") for table in TABLES}
    assert set(read.values()) == {"${database}"}


@pytest.mark.parametrize("name", VIEWS)
def test_types_are_those_that_are_declared(name: str) -> None:
    # Athena calls a view stale, and refuses to read it, if a column has another type.
    columns = {
        table.name.replace(".", "_"): {column.name: ATHENA_TYPES[column.type] for column in table.columns}
        for table in TABLES
    }
    schema = {DATABASE: columns}
    query = sqlglot.parse_one(VIEWS[name].sql.replace("${database}", DATABASE), dialect="athena")
    typed = annotate_types(qualify(query, schema=schema, dialect="athena"), schema=schema, dialect="athena")
    column_types = {item.alias_or_name: item.type.sql(dialect="athena").lower() for item in typed.selects}
    assert column_types == dict(VIEWS[name].columns)


def test_departures_are_those_of_the_newest_days(run: Run) -> None:
    expected = PERFORMANCE.filter(pl.col("operating_date") >= TODAY - timedelta(DEPARTURE_DAYS)).select(
        pl.exclude("last_week", "ha8", "expected_tier"),
    )
    assert set(expected["operating_date"]) == set(DAYS[:2])
    assert_same(run("departures"), expected.select(*VIEWS["departures"].columns))


def test_accuracy_has_the_sums_of_each_group(run: Run) -> None:
    error, baseline = (pl.col("mean") - pl.col("load")).abs(), (pl.col("ha4") - pl.col("load")).abs()
    expected = PERFORMANCE.group_by("operating_date", "horizon_days", "mode", "line_id").agg(
        departures=pl.len(),
        load=pl.col("load").sum(),
        mean=pl.col("mean").sum(),
        absolute_error=error.sum(),
        absolute_error_with_ha4=error.filter(pl.col("ha4").is_not_null()).sum(),
        absolute_error_of_ha4=baseline.sum(),
        inside_p10_p90=pl.col("load").is_between("p10", "p90").sum(),
        above_seats=(pl.col("load") > pl.col("seats")).sum(),
        expected_above_seats=pl.col("prob_above_seats").filter(pl.col("seats").is_not_null()).sum(),
    )
    assert 0 < expected["inside_p10_p90"].sum() < expected["departures"].sum()
    assert expected["above_seats"].sum() > 0
    assert_same(run("accuracy"), expected)


def test_wape_of_a_group_is_that_of_its_departures(run: Run) -> None:
    rows = run("accuracy").filter(pl.col("operating_date") == DAYS[0])
    departures = PERFORMANCE.filter(pl.col("operating_date") == DAYS[0])
    wape = (departures["mean"] - departures["load"]).abs().sum() / departures["load"].sum()
    assert rows["absolute_error"].sum() / rows["load"].sum() == pytest.approx(wape)


def test_drift_has_every_measure_thresholds_and_detail(run: Run) -> None:
    rows = run("drift")
    assert set(rows.columns) == set(DRIFT.column_names)
    assert_same(rows, MEASURES)


def assert_same(rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    """The same rows in any order. Integers of different widths are equal."""
    types = {
        name: expected.schema[name] for name in expected.columns if not expected.schema[name].is_temporal()
    }
    assert rows.height == expected.height > 0
    assert_frame_equal(rows.cast(types), expected.select(rows.columns), check_row_order=False)  # pyright: ignore[reportArgumentType]
