"""What a table's checks found: results by check, verdicts by date, and both as plain values for metadata and records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from ruter_dagster.contracts.checks import Check, Severity

NOT_JUDGED = "not judged"
_DATES_LISTED = 5


@dataclass(frozen=True)
class CheckResult:
    """One check on all dates: its measure by date (None where it cannot be said), where it failed, and example rows."""

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
        """Whether it could be said of any date; one that could not passes, and is shown apart."""
        return any(value is not None for value in self.measures.values())

    @property
    def outcome(self) -> str:
        """`passed`, `failed`, `warning` or `not judged`."""
        if not self.passed:
            return "warning" if self.severity == "WARN" else "failed"
        return "passed" if self.judged else NOT_JUDGED

    @property
    def measured(self) -> float | None:
        """The measure farthest out of its bounds, or closest to them if it is within; None if nothing was measured."""
        values = [value for value in self.measures.values() if value is not None]
        return max(values, key=self._excess, default=None)

    def _excess(self, value: float) -> float:
        """How far a measure lies beyond the nearer bound; negative within the bounds."""
        below = -math.inf if self.check.minimum is None else self.check.minimum - value
        above = -math.inf if self.check.maximum is None else value - self.check.maximum
        return max(below, above)

    @property
    def expected(self) -> str:
        return self.check.expected

    @property
    def observed(self) -> str:
        """What was measured, in words, and the dates that failed."""
        values = [value for value in self.measures.values() if value is not None]
        if not values:
            return f"{NOT_JUDGED}: too little is known to measure it"
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
        more = f" and {len(days) - _DATES_LISTED} more" if len(days) > _DATES_LISTED else ""
        listed = ", ".join(str(day) for day in days[:_DATES_LISTED])
        return f"{measured}; fails on {listed}{more}"


@dataclass(frozen=True)
class Verdict:
    """The verdict on one date: it passes unless an ERROR check failed."""

    date: date
    failed: tuple[str, ...]
    warned: tuple[str, ...]
    not_judged: tuple[str, ...] = ()
    """Checks that could not be said of the date."""

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
    """All checks of one table on its dates. `profile` is the dates' own, for later dates to be compared with.

    `html` is the Data Docs page: one file that loads nothing from elsewhere.
    """

    table: str
    results: tuple[CheckResult, ...]
    verdicts: Mapping[date, Verdict]
    profile: pl.DataFrame
    html: str
    vehicles: pl.DataFrame
    """What each vehicle counted beside others on each date, for later dates to be added to; empty but for stop visits."""

    @property
    def passed(self) -> bool:
        """Whether no date failed an ERROR check."""
        return all(verdict.passed for verdict in self.verdicts.values())

    @property
    def message(self) -> str:
        """A paragraph for each check that failed: the table, the check, what was found and expected, example rows."""
        return "\n".join(
            f"{self.table}: {result.severity} {result.name}: {result.observed}; expected {result.expected}"
            + "".join(f"\n    {_words(example)}" for example in result.examples)
            for result in self.results
            if not result.passed
        )

    def summary(self, day: date) -> dict[str, Any]:
        """The verdict on a date as JSON values, to be recorded with it; `profiles_of` reads the profile back."""
        verdict = self.verdicts[day]
        own = (
            self.profile.filter(pl.col("date") == day).with_columns(pl.col("date").cast(pl.String)).to_dicts()
        )
        return {
            "passed": verdict.passed,
            "failed": list(verdict.failed),
            "warned": list(verdict.warned),
            "measures": {result.name: result.measures[day] for result in self.results},
            "profile": own[0] if own else None,
        }


def profiles_of(summaries: Iterable[Mapping[str, Any]]) -> pl.DataFrame | None:
    """The profiles within recorded summaries, stacked: the `reference` of a later check. None where there is none."""
    profiles = [summary["profile"] for summary in summaries if summary.get("profile")]
    if not profiles:
        return None
    frame = pl.from_dicts(profiles, infer_schema_length=None)
    return frame.with_columns(pl.col("date").str.to_date(), pl.exclude("date").cast(pl.Float64)).sort("date")


def _words(example: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in example.items() if value is not None)
