"""What a publication changes for consumers: the journeys that it sends, and those that left the plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from ruter_dagster.contracts.date_windows import HORIZON_DAYS
from ruter_dagster.publishing.connection import KafkaConnection
from ruter_dagster.publishing.consumer import read_current_journeys
from ruter_dagster.publishing.markers import Marker
from ruter_dagster.publishing.messages import JOURNEY, MESSAGE_COLUMNS
from ruter_dagster.publishing.topics import topics_of

ReadFormer = Callable[[Marker, Sequence[str], pl.Expr], pl.DataFrame | None]
"""Reads columns of the rows that a former publication sent, for which the expression is true; None if they no longer exist."""


@dataclass(frozen=True)
class Changes:
    """The rows to send (whole journeys, in the order of the forecasts), and the journeys (columns `JOURNEY`) that left the plan."""

    forecasts: pl.DataFrame
    removed: pl.DataFrame


def changes_since(
    former: Marker | None,
    forecasts: pl.DataFrame,
    issue_date: date,
    connection: KafkaConnection,
    read_former: ReadFormer | None,
    *,
    send_all: bool = False,
) -> Changes:
    """What consumers who read `former`, the newest publication, need to know of `forecasts`.

    A new issue date sends all its journeys. A correction of an issue date sends only journeys whose messages change; all of
    them if the rows of `former` no longer exist. Then the topic itself gives the journeys that it has. `send_all` sends all
    journeys of a correction too.

    An operating day without any forecast keeps its messages: it was not forecast, which does not mean that its journeys left the plan.
    """
    if former is None:
        return Changes(forecasts, forecasts.select(JOURNEY).clear())
    compares = former.issue_date == issue_date and not send_all
    columns = MESSAGE_COLUMNS if compares else JOURNEY
    rows = read_former(former, columns, pl.col("operating_date") >= issue_date) if read_former else None
    changed = _changed(rows, forecasts) if compares and rows is not None else forecasts
    if rows is None or _lacks_days(rows, former, forecasts):
        rows = read_current_journeys(connection, topics_of(connection).occupancy_forecasts, issue_date)
    return Changes(changed, _removed_journeys(rows, forecasts))


def _lacks_days(former_rows: pl.DataFrame, former: Marker, forecasts: pl.DataFrame) -> bool:
    """Whether `former` had no forecast of a day of its horizon that `forecasts` have. An earlier publication may have had one."""
    days = set(forecasts["operating_date"].unique()) - set(former_rows["operating_date"].unique())
    return any(day <= former.issue_date + timedelta(HORIZON_DAYS) for day in days)


def _removed_journeys(former: pl.DataFrame, forecasts: pl.DataFrame) -> pl.DataFrame:
    """The former journeys of the days of `forecasts` that `forecasts` do not have."""
    days = forecasts["operating_date"].unique()
    journeys = former.select(JOURNEY).unique().filter(pl.col("operating_date").is_in(days.implode()))
    return journeys.join(forecasts.select(JOURNEY), on=JOURNEY, how="anti").sort(JOURNEY)


def _changed(former: pl.DataFrame, forecasts: pl.DataFrame) -> pl.DataFrame:
    """The rows of journeys that are new, or of which any call differs from the former one."""
    before, after = _digests(former), _digests(forecasts)
    changed = after.join(before, on=[*JOURNEY, "digest", "calls"], how="anti")
    return forecasts.join(changed, on=JOURNEY, how="semi", maintain_order="left")


def _digests(rows: pl.DataFrame) -> pl.DataFrame:
    """A digest of the messages of each journey. The same within one process only."""
    # As in messages: a difference that rounding removes is none.
    counts = pl.col("mean", "p10", "p50", "p90").round(2)
    compared = rows.select(MESSAGE_COLUMNS).with_columns(
        counts, pl.col("prob_above_seats").round(4), pl.col("reasons").fill_null("")
    )
    return (
        rows.select(*JOURNEY, digest=compared.hash_rows())
        .group_by(JOURNEY)
        .agg(pl.col("digest").sum(), calls=pl.len())
    )
