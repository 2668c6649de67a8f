"""The contract of stop visits refuses each kind of fault by its name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.contracts.validation import conform, validate
from ruter_dagster.sources.demo.source import DemoSource

Change = Callable[[pl.DataFrame], pl.DataFrame]

DAY = date(2026, 11, 11)
FIRST_FIVE = pl.int_range(pl.len()) < 5


def _set(column: str, value: pl.Expr) -> Change:
    """Another value of a column in the first five rows."""

    def change(visits: pl.DataFrame) -> pl.DataFrame:
        changed = pl.when(FIRST_FIVE).then(value.cast(visits.schema[column])).otherwise(pl.col(column))
        return visits.with_columns(changed.alias(column))

    return change


def _without_counts(visits: pl.DataFrame) -> pl.DataFrame:
    counts = ("departure_load", "boardings", "alightings")
    return visits.with_columns(pl.lit(None, pl.Int32).alias(name) for name in counts)


FAULTS: dict[str, tuple[Change, str]] = {
    "duplicates": (lambda visits: pl.concat([visits, visits.head(5)]), "unique: broken in 10 of"),
    "negative counts": (_set("boardings", pl.lit(-3)), "boardings >= 0: broken in 5 of"),
    "overload": (
        _set("departure_load", 2 * pl.col("total_capacity") + 1),
        "load_within_twice_the_capacity .*: broken in 5 of",
    ),
    "missing column": (lambda visits: visits.drop("stop_id"), "stop_id is missing"),
    "wrong type": (
        lambda visits: visits.with_columns(pl.col("departure_load").cast(pl.String)),
        "departure_load should be Int32",
    ),
    "wrong dates": (
        _set("service_date", pl.col("service_date") + timedelta(days=1)),
        "within the dates being written .*: broken in 5 of",
    ),
    "nothing counted": (_without_counts, "counted .*: broken in .* rows"),
    "empty": (lambda visits: visits.clear(), "without any row"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_refused_by_name(source: DemoSource, fault: str) -> None:
    change, message = FAULTS[fault]
    with pytest.raises(BadInput, match=message):
        validate(conform(change(source.stop_visits(DAY)), STOP_VISITS), STOP_VISITS, [DAY])
