"""Every query returns the same rows on DuckDB as after its translation to Athena and back, and what polars computes from the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import polars as pl
import pytest
import sqlglot
from polars.testing import assert_frame_equal
from sqlglot import exp

from benchmarks.dashboard import ISSUE_DATE
from ruter_dagster.contracts.all_tables import TABLES
from ruter_dagster.contracts.scores import LINE_SCORES
from ruter_dagster.contracts.tables import FORECAST_PERFORMANCE, LOAD_FORECASTS, PLANNED_DEPARTURES
from ruter_dagster.dashboards.engine import Query, TableReader, Value, view_name
from ruter_dagster.dashboards.queries import (
    FORECAST_TOTALS,
    JOURNEYS_OF_LINE,
    MOST_CROWDED,
    NEWEST_PUBLICATION,
    QUERIES,
    STOP_CROWDING,
    VARIANT_SCORES,
    WORST_JOURNEYS,
)
from ruter_dagster.forecasting.crowding import most_crowded
from ruter_dagster.storage.tables import TableStore
from tests.dashboards.state import OBSERVED, TOMORROW, YESTERDAY

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

LINE = "RUT:Line:21"


@pytest.fixture(scope="module")
def forecasts(store: TableStore) -> pl.DataFrame:
    return store.read(LOAD_FORECASTS, [ISSUE_DATE]).filter(pl.col("operating_date") == TOMORROW)


@pytest.fixture(scope="module")
def performance(store: TableStore) -> pl.DataFrame:
    return store.read(FORECAST_PERFORMANCE, [YESTERDAY]).filter(pl.col("horizon_days") == 1)


@pytest.fixture(scope="module")
def trips(performance: pl.DataFrame, forecasts: pl.DataFrame) -> dict[bool, str]:
    """A journey of the line, by whether it was observed."""
    frames = {True: performance, False: forecasts}
    return {
        observed: frame.filter(pl.col("line_id") == LINE)["trip_id"].item(0)
        for observed, frame in frames.items()
    }


def parameters(query: Query, trips: Mapping[bool, str] | None = None, **changed: Value) -> dict[str, Value]:
    observed = FORECAST_PERFORMANCE in query.tables
    values: dict[str, Value] = {
        "issue_date": ISSUE_DATE, "operating_date": YESTERDAY if observed else TOMORROW, "service_date": YESTERDAY,
        "first": OBSERVED[0], "last": OBSERVED[-1], "horizon": 1, "first_hour": 0, "last_hour": 47, "mode": None, "line": LINE,
        "stop": None, "order": "surprise", "crowded_probability": 0.2, "trip": (trips or {}).get(observed, ""), **changed,
    }  # fmt: skip
    bounds = {name for dates in query.tables.values() for name in (dates.first, dates.last)}
    return {name: values[name] for name in query.parameters | bounds}


def athena_sql(query: Query, values: Mapping[str, Value]) -> str:
    """The query in Athena's SQL, with values in place of its parameters."""

    def bind(node: exp.Expression) -> exp.Expression:
        if not isinstance(node, exp.Parameter):
            return node
        value = values[node.name]
        return exp.cast(exp.convert(str(value)), "date") if isinstance(value, date) else exp.convert(value)

    return sqlglot.parse_one(query.sql, dialect="duckdb").transform(bind).sql(dialect="athena")


@pytest.mark.parametrize("name", QUERIES)
def test_translated_query_returns_the_same_rows(
    reader: TableReader, trips: dict[bool, str], name: str
) -> None:
    query = QUERIES[name]
    rows = assert_same_after_translation(reader, query, parameters(query, trips))
    assert rows.height or query is NEWEST_PUBLICATION


@pytest.mark.parametrize("name", [name for name, query in QUERIES.items() if "stop" in query.parameters])
def test_translated_filters_return_the_same_rows(reader: TableReader, store: TableStore, name: str) -> None:
    stop = store.read(PLANNED_DEPARTURES, [TOMORROW]).filter(pl.col("line_id") == LINE)["stop_name"].item(0)
    values = parameters(QUERIES[name], stop=stop, line=None, mode="bus", first_hour=8)
    assert assert_same_after_translation(reader, QUERIES[name], values).height


def assert_same_after_translation(
    reader: TableReader, query: Query, values: dict[str, Value]
) -> pl.DataFrame:
    (back,) = sqlglot.transpile(athena_sql(query, values), read="athena", write="duckdb")
    rows, translated = reader.run(query, **values), reader.run(replace(query, sql=back), **values)
    assert_frame_equal(translated, rows, check_row_order="ORDER BY" in query.sql, rel_tol=1e-9)
    return rows


@pytest.mark.parametrize("name", QUERIES)
def test_query_reads_the_tables_that_it_declares(name: str) -> None:
    query = QUERIES[name]
    read = {table.name for table in sqlglot.parse_one(query.sql, dialect="duckdb").find_all(exp.Table)}
    assert read == {view_name(table) for table in query.tables}
    assert set(query.tables) <= set(TABLES)


@pytest.mark.parametrize("name", QUERIES)
def test_query_bounds_the_partition_of_each_table(name: str) -> None:
    # In Athena nothing else limits what is read and paid for.
    query = QUERIES[name]
    for table, dates in query.tables.items():
        same = f"{table.partition} = ${dates.first}" in query.sql
        assert same or f"{table.partition} BETWEEN ${dates.first} AND ${dates.last}" in query.sql


def test_most_crowded_journeys_have_the_most_crowded_departures(
    reader: TableReader, forecasts: pl.DataFrame
) -> None:
    rows = reader.run(MOST_CROWDED, **parameters(MOST_CROWDED, line=None))
    expected = most_crowded(forecasts, forecasts.height).unique("trip_id", keep="first", maintain_order=True).head(100)  # fmt: skip
    assert_frame_equal(
        rows.select("trip_id", "stop_sequence", "mean"), expected.select("trip_id", "stop_sequence", "mean")
    )


def test_filters_select_departures(reader: TableReader, store: TableStore, forecasts: pl.DataFrame) -> None:
    plan = store.read(PLANNED_DEPARTURES, [TOMORROW])
    name = plan.filter(pl.col("line_id") == LINE)["stop_name"].item(0)
    stops = plan.filter(pl.col("stop_name") == name)["stop_id"].unique()
    chosen = {"line": LINE, "stop": name, "mode": "bus", "first_hour": 8, "last_hour": 15}
    rows = reader.run(FORECAST_TOTALS, **parameters(FORECAST_TOTALS, **chosen))
    expected = forecasts.filter(
        pl.col("line_id") == LINE,
        pl.col("stop_id").is_in(stops.to_list()),
        pl.col("slot_hour").is_between(8, 15),
    )
    assert rows["departures"].item() == expected.height > 0
    assert rows["expected_above_seats"].item() == pytest.approx(expected["prob_above_seats"].sum())
    assert rows["journeys"].item() == expected["trip_id"].n_unique()


def test_stops_add_up_to_the_network(reader: TableReader, forecasts: pl.DataFrame) -> None:
    rows = reader.run(STOP_CROWDING, **parameters(STOP_CROWDING, line=None))
    assert rows["departures"].sum() == forecasts.height
    assert rows["prob_above_seats"].max() == forecasts["prob_above_seats"].max()


def test_worst_journeys_by_error_have_the_largest_errors(
    reader: TableReader, performance: pl.DataFrame
) -> None:
    rows = reader.run(WORST_JOURNEYS, **parameters(WORST_JOURNEYS, line=None, order="error"))
    error = (pl.col("mean") - pl.col("load")).abs().alias("error")
    expected = performance.group_by("trip_id").agg(error.max())["error"].sort(descending=True).head(50)
    assert rows["absolute_error"].to_list() == pytest.approx(expected.to_list())
    assert rows["trip_id"].n_unique() == rows.height == 50


def test_worst_journeys_by_surprise_have_errors_beyond_their_intervals(
    reader: TableReader, performance: pl.DataFrame
) -> None:
    rows = reader.run(WORST_JOURNEYS, **parameters(WORST_JOURNEYS, line=None))
    width = pl.max_horizontal((pl.col("p90") - pl.col("p10")).sum(), 10 * pl.len())
    surprise = ((pl.col("mean") - pl.col("load")).abs().sum() / width).alias("surprise")
    expected = performance.group_by("trip_id").agg(surprise)["surprise"].sort(descending=True).head(50)
    assert rows["surprise"].to_list() == pytest.approx(expected.to_list())


def test_journeys_add_up_to_their_line(reader: TableReader, performance: pl.DataFrame) -> None:
    rows = reader.run(JOURNEYS_OF_LINE, **parameters(JOURNEYS_OF_LINE))
    line = performance.filter(pl.col("line_id") == LINE)
    assert rows["departures"].sum() == line.height > 0
    assert rows["covered"].sum() == line["load"].is_between(line["p10"], line["p90"]).sum()
    assert rows["absolute_error"].sum() == pytest.approx((line["mean"] - line["load"]).abs().sum())


def test_sums_of_counts_are_integers(reader: TableReader, store: TableStore) -> None:
    rows = reader.run(VARIANT_SCORES, **parameters(VARIANT_SCORES))
    stored = store.read(LINE_SCORES, OBSERVED).filter(pl.col("horizon_days") == 1)
    assert rows.schema["matched"] == rows.schema["covered"] == pl.Int64
    assert rows["matched"].sum() == stored["matched"].sum()
