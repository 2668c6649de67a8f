"""Training rows with an artificially shortened history, so that a model learns to forecast with little history.

Each kind keeps what would be known if the row's line, stop or hour were new, or if counting had begun a few weeks ago. The
features are edited, not computed again from fewer loads, which would take as long as computing all features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from ruter_dagster.contracts.date_windows import LAG_WEEKS
from ruter_dagster.contracts.features import LEVEL_RATIO_DAYS
from ruter_dagster.forecasting.history import DECAY_PER_WEEK
from ruter_dagster.forecasting.model_rows import KEY, YEAR_AGO_RATIOS
from ruter_dagster.forecasting.neighbours import interpolated_hours
from ruter_dagster.forecasting.tiers import expected_columns, has_basis, has_own_counts

_LAGS = tuple(f"lag_{week}" for week in range(1, LAG_WEEKS + 1))
_OWN = (
    *_LAGS, "ha4", "ha8", "usual", "usual_recent", "usual_median", "usual_deviation", "departure_of_day_class",
    "departure_of_day_class_recent", "slot_of_day_class", "slot_of_day_class_recent",
)  # fmt: skip
_AROUND = tuple(
    f"{name}{suffix}"
    for suffix in ("", "_far")
    for name in ("earlier_hour", "later_hour", "hours_to_earlier", "hours_to_later")
)
_HOURS_BESIDE = ("usual_previous_hour", "usual_next_hour", "last_week_previous_hour", "last_week_next_hour")
_OF_HOUR = (
    "usual_line_hour", "last_week_line_hour_ratio", "line_hour_of_day_class", "usual_previous_stop", "journey_load",
)  # fmt: skip
_OF_LINE = (*_OF_HOUR, *_HOURS_BESIDE, *_AROUND, "line_of_day_class")
_YEAR_AGO_OF_LINE = ("line_hour_year_ago",)
_MAX_DAYS = 7
"""A new line, stop or hour has been counted for fewer days than this; its own history begins a week later."""
MAX_COPIES = 750
"""About this many copies per date: 300,000 for 400 dates, which teach as much as a million."""
Columns = dict[str, pl.Expr]


@dataclass(frozen=True)
class Kind:
    """One way to shorten a history: the columns it changes, and the scopes whose levels know only a few days.

    `share` is its share of all shortened rows. `scopes` maps scopes of levels.py to the columns that identify a member.
    """

    share: float
    columns: Callable[[], Columns]
    scopes: dict[str, tuple[str, ...]]


def with_shortened_copies(rows: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Rows of a training sample, followed by copies with a shorter history: about this share of the rows (0 to 1).

    Key and `seed` choose rows with own counts, at most `MAX_COPIES` per date. Copies without any expected load are left
    out.
    """
    # By date, so that the copies of a date do not depend on other dates.
    share_of_date = pl.min_horizontal(pl.lit(share), MAX_COPIES / pl.len().over("service_date"))
    return pl.concat([rows, *(_shortened_copies(rows, kind, share_of_date, seed) for kind in KINDS)])


def _shortened_copies(rows: pl.DataFrame, name: str, share: pl.Expr, seed: int) -> pl.DataFrame:
    """The copies of one kind."""
    kind = KINDS[name]
    index = list(KINDS).index(name)
    wanted = (_draw(seed, 7 * index) < share * kind.share) & has_own_counts()
    groups = rows.lazy().filter(has_own_counts())
    copies = rows.filter(wanted).with_columns(
        _draw(seed, 7 * index + 1).alias("draw"), _draw(seed, 7 * index + 2).alias("draw_days")
    )
    changed = _changed(copies, kind)
    for scope, key in kind.scopes.items():
        changed = _with_young_levels(changed, scope, key, _expected_sums(groups, kind, key))
    return changed.filter(has_basis()).select(rows.columns)


def _changed(rows: pl.DataFrame, kind: Kind) -> pl.DataFrame:
    return (
        rows.with_columns(column.alias(name) for name, column in kind.columns().items())
        .with_columns(interpolated_hours(pl.col("slot_hour")))
        .with_columns(*expected_columns())
    )


def _expected_sums(rows: pl.LazyFrame, kind: Kind, key: Sequence[str]) -> pl.DataFrame:
    """For each member of a scope: the expected loads of its departures with (`own`) and without (`without_history`) their history."""
    drawn = rows.with_columns(pl.lit(0.0).alias("draw"), pl.col("expected").alias("own")).collect()
    changed = _changed(drawn, kind).filter(has_basis())
    return changed.group_by("service_date", *key).agg(
        pl.col("own").sum(), pl.col("expected").sum().alias("without_history")
    )


def _with_young_levels(
    rows: pl.DataFrame, scope: str, key: Sequence[str], sums: pl.DataFrame
) -> pl.DataFrame:
    """Levels of a member counted for 0 to 6 days, relative to its expected load without history."""
    days = (pl.col("draw_days") * _MAX_DAYS).floor()
    known = rows.join(sums, on=["service_date", *key], how="left", maintain_order="left").select(
        days=days,
        against=pl.when(pl.col("without_history") > 0).then(pl.col("own") / pl.col("without_history")),
    )
    frame = pl.concat([rows, known], how="horizontal")
    ratios = [
        (
            pl.when(pl.col("days") >= 1)
            .then(
                pl.when(pl.col("days") < 3).then(f"{scope}_ratio_1").otherwise(f"{scope}_ratio_{min(3, ago)}")
            )
            .alias(f"{scope}_ratio_{ago}")
            * pl.col("against")
        )
        for ago in LEVEL_RATIO_DAYS
    ]
    return frame.with_columns(ratios).drop("days", "against")


def _null_columns(*names: str) -> Columns:
    return {name: pl.lit(None, pl.Int32 if name.startswith("hours_to") else pl.Float64) for name in names}


def _no_own_counts() -> Columns:
    return {**_null_columns(*_OWN), "history_count": pl.lit(0, pl.Int32)}


def _new_line() -> Columns:
    return {**_no_own_counts(), **_null_columns(*_OF_LINE, *_YEAR_AGO_OF_LINE)}


def _renamed_line() -> Columns:
    """A line with a new id: counts under its former id, at the same stops and hours, belong to another line."""
    return {
        **_new_line(),
        "stop_hour_of_other_lines": pl.col("stop_hour_of_day_class"),
        "mode_hour_of_other_lines": pl.col("mode_hour_of_day_class"),
    }


def _new_stop() -> Columns:
    """A stop that the line has not served; in half of the draws, no other line has served it either."""
    others = pl.when(pl.col("draw") < 0.5).then("stop_hour_of_other_lines")
    return {
        **_no_own_counts(),
        **_null_columns(*_HOURS_BESIDE, *_AROUND, "stop_year_ago"),
        "stop_hour_of_other_lines": others,
    }


def _new_hour() -> Columns:
    """An hour in which the line has not run: between hours with service, or before its first or after its last hour."""
    draw = pl.col("draw")
    far = (draw * 10).floor() % 2 == 1
    sides = {"earlier": draw < 0.8, "later": (draw < 0.6) | (draw >= 0.8)}
    around = {
        name: pl.when(known & far).then(f"{name}_far").when(known).then(name)
        for side, known in sides.items()
        for name in (f"{side}_hour", f"hours_to_{side}")
    }
    beside = {
        name: pl.when(~far & known).then(name)
        for known, names in ((sides["earlier"], _HOURS_BESIDE[::2]), (sides["later"], _HOURS_BESIDE[1::2]))
        for name in names
    }
    return {**_no_own_counts(), **_null_columns(*_OF_HOUR, *_YEAR_AGO_OF_LINE), **around, **beside}


def _few_weeks() -> Columns:
    """Counts of 1 to 7 weeks only. On holidays the columns stay, because their lags are ordinary days."""
    weeks = 1 + (pl.col("draw") * (LAG_WEEKS - 1)).floor()
    lags: Columns = {
        f"lag_{week}": pl.when(weeks >= week).then(f"lag_{week}") for week in range(1, LAG_WEEKS + 1)
    }
    known = pl.concat_list(*lags.values()).list.drop_nulls()
    decays = [
        pl.when(lag.is_not_null()).then(DECAY_PER_WEEK**week) for week, lag in enumerate(lags.values(), 1)
    ]
    recent = pl.sum_horizontal(
        lag * DECAY_PER_WEEK**week for week, lag in enumerate(lags.values(), 1)
    ) / pl.sum_horizontal(*decays)
    # Monday to Thursday are one class of four days a week, so that means over several weeks have as little noise.
    pooled = (
        pl.when(pl.col("weekday") > 3).then(known.list.mean()).when(weeks < 2).then("ha4").otherwise("ha8")
    )
    columns: Columns = {
        **lags,
        "ha4": pl.mean_horizontal(*list(lags.values())[:4]),
        "ha8": pl.mean_horizontal(*lags.values()),
        "history_count": known.list.len().cast(pl.Int32),
        "usual": known.list.mean(),
        "usual_recent": pl.when(known.list.len() > 0).then(recent),
        "usual_median": known.list.median(),
        "usual_deviation": known.list.std(0),
        **{
            name: _class_mean(name, weeks, pooled) for name in ("departure_of_day_class", "slot_of_day_class")
        },
        **{
            f"{name}_recent": pl.when(weeks < 4)
            .then(_class_mean(name, weeks, pooled))
            .otherwise(f"{name}_recent")
            for name in ("departure_of_day_class", "slot_of_day_class")
        },
    }
    ordinary = pl.col("weekday") == pl.col("comparable_weekday")
    shortened = {name: pl.when(ordinary).then(column).otherwise(name) for name, column in columns.items()}
    return {**shortened, **_null_columns(*YEAR_AGO_RATIOS)}


def _class_mean(name: str, weeks: pl.Expr, pooled: pl.Expr) -> pl.Expr:
    known = pl.col("lag_1").is_not_null()
    return pl.when(weeks >= 6).then(name).when(weeks >= 4).then(f"{name}_recent").when(known).then(pooled)


def _draw(seed: int, index: int) -> pl.Expr:
    """A number from 0 to 1 that depends on the key and the seed only."""
    return pl.struct(KEY).hash(1000 * seed + index) / 2.0**64


_LINE_SCOPES = {"line": ("line_id",), "line_hour": ("line_id", "direction_id", "slot_hour")}
KINDS = {
    "new_line": Kind(0.2, _new_line, _LINE_SCOPES),
    "renamed_line": Kind(0.2, _renamed_line, _LINE_SCOPES),
    "new_stop": Kind(0.2, _new_stop, {"stop": ("stop_id",)}),
    "new_hour": Kind(0.2, _new_hour, {"line_hour": ("line_id", "direction_id", "slot_hour")}),
    "few_weeks": Kind(0.2, _few_weeks, {}),
}
"""Every way to shorten a history."""
