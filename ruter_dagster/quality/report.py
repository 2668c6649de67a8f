"""Results of a table's checks: by check, and as verdicts by date. Also as plain values for metadata and records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from ruter_dagster.contracts.checks import Check, Severity

NOT_JUDGED = "not judged"
_MAX_DATES = 5


@dataclass(frozen=True)
class CheckResult:
    """The result of one check: its measure by date (None if not measured), the failed dates and example rows."""

    check: Check
    measures: Mapping[date, float | None]
    failed_dates: frozenset[date]
    examples: tuple[Mapping[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return self.check.name

    @property
    def severity(self) -> Severity:
        return self.check.severity

    @property
    def passed(self) -> bool:
        return not self.failed_dates

    @property
    def judged(self) -> bool:
        """Whether any date was measured. A check without a measure passes as not judged."""
        return any(value is not None for value in self.measures.values())

    @property
    def outcome(self) -> str:
        """`passed`, `failed`, `warning` or `not judged`."""
        if not self.passed:
            return "warning" if self.severity == "WARN" else "failed"
        return "passed" if self.judged else NOT_JUDGED

    @property
    def measured(self) -> float | None:
        """The measure farthest outside its bounds, or closest to them if all are within; None if nothing was measured."""
        values = [value for value in self.measures.values() if value is not None]
        return max(values, key=self._excess, default=None)

    def _excess(self, value: float) -> float:
        """How far a measure is beyond the nearer bound; negative within the bounds."""
        below = -math.inf if self.check.minimum is None else self.check.minimum - value
        above = -math.inf if self.check.maximum is None else value - self.check.maximum
        return max(below, above)

    @property
    def expected(self) -> str:
        return self.check.expected

    @property
    def observed(self) -> str:
        """The measures and the failed dates as text."""
        values = [value for value in self.measures.values() if value is not None]
        if not values:
            return f"{NOT_JUDGED}: not enough data to measure it"
        low, high = (
            f"{value:,.4g}" if value % 1 else f"{value:,.0f}" for value in (min(values), max(values))
        )
        if self.check.counts_faults:
            measured = f"{sum(values):,.0f} {self.check.unit}"
        else:
            measured = f"{low if low == high else f'{low} to {high}'} {self.check.unit}"
        if unknown := len(self.measures) - len(values):
            measured += f" ({NOT_JUDGED} on {unknown} of {len(self.measures)} dates)"
        if self.passed:
            return measured
        days = sorted(self.failed_dates)
        more = f" and {len(days) - _MAX_DATES} more" if len(days) > _MAX_DATES else ""
        listed = ", ".join(str(day) for day in days[:_MAX_DATES])
        return f"{measured}; fails on {listed}{more}"


@dataclass(frozen=True)
class Verdict:
    """The verdict on one date. A date passes unless an ERROR check failed."""

    date: date
    failed: tuple[str, ...]
    warned: tuple[str, ...]
    not_judged: tuple[str, ...] = ()
    """Checks that could not be measured on the date."""

    @property
    def passed(self) -> bool:
        return not self.failed


def verdicts_of(results: Sequence[CheckResult], dates: Iterable[date]) -> dict[date, Verdict]:
    """The verdict on each date."""

    def failing(day: date, severity: Severity) -> tuple[str, ...]:
        return tuple(
            result.name for result in results if result.severity == severity and day in result.failed_dates
        )

    def unknown(day: date) -> tuple[str, ...]:
        return tuple(result.name for result in results if result.measures[day] is None)

    return {day: Verdict(day, failing(day, "ERROR"), failing(day, "WARN"), unknown(day)) for day in dates}


@dataclass(frozen=True)
class QualityReport:
    """The results of all checks of one table.

    `profile` describes the dates, for the comparison of later dates. `html` is the Data Docs page in one file.
    """

    table: str
    results: tuple[CheckResult, ...]
    verdicts: Mapping[date, Verdict]
    profile: pl.DataFrame
    html: str
    vehicles: pl.DataFrame
    """`vehicle_counts` of each date, for the checks of later dates; empty for tables other than stop visits."""

    @property
    def passed(self) -> bool:
        """Whether no date failed an ERROR check."""
        return all(verdict.passed for verdict in self.verdicts.values())

    @property
    def message(self) -> str:
        """A paragraph for each failed check: the table, the check, measured and expected values, and example rows."""
        return "\n".join(
            f"{self.table}: {result.severity} {result.name}: {result.observed}; expected {result.expected}"
            + "".join(f"\n    {_as_text(example)}" for example in result.examples)
            for result in self.results
            if not result.passed
        )

    def summary(self, day: date) -> dict[str, Any]:
        """The verdict on a date as JSON values. `profiles_of` reads its profile."""
        verdict = self.verdicts[day]
        profile = (
            self.profile.filter(pl.col("date") == day).with_columns(pl.col("date").cast(pl.String)).to_dicts()
        )
        return {
            "passed": verdict.passed,
            "failed": list(verdict.failed),
            "warned": list(verdict.warned),
            "measures": {result.name: result.measures[day] for result in self.results},
            "profile": profile[0] if profile else None,
        }


def profiles_of(summaries: Iterable[Mapping[str, Any]]) -> pl.DataFrame | None:
    """The profiles in recorded summaries, as the `reference` of `check_table`. None if there are none."""
    profiles = [summary["profile"] for summary in summaries if summary.get("profile")]
    if not profiles:
        return None
    frame = pl.from_dicts(profiles, infer_schema_length=None)
    return frame.with_columns(pl.col("date").str.to_date(), pl.exclude("date").cast(pl.Float64)).sort("date")


def _as_text(example: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in example.items() if value is not None)
