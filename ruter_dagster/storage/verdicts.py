"""Quality verdicts: whether the present rows of a date may be read. The checks themselves belong in `quality`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import asset_of, quality_asset_of
from ruter_dagster.contracts.tables import Table
from ruter_dagster.storage.artifacts import ArtifactStore


class NoPassingVerdict(PermanentFailure):
    """Dates whose present rows failed their checks, or were not checked."""

    def __init__(self, message: str, table: Table, dates: Sequence[date]) -> None:
        super().__init__(message)
        self.table, self.dates = table, tuple(dates)


class Verdicts:
    """Verdicts by table, date and content version, in one file each. Changed rows have no verdict until they are checked."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def record(self, table: Table, day: date, version: str, summary: Mapping[str, Any], report: str) -> None:
        """Records the verdict on a date's rows. `summary` has JSON values, among them `passed` and the checks in `failed`."""
        verdict = {**summary, "report": report}
        self._artifacts.put(_key(table.name, day, version), json.dumps(verdict, sort_keys=True).encode())

    def summaries(self, table: Table, versions: Mapping[date, str]) -> list[dict[str, Any]]:
        """The recorded verdicts on these versions, by date."""
        return list(self._verdicts(table, versions).values())

    def by_date(self, table: Table, versions: Mapping[date, str]) -> dict[date, dict[str, Any]]:
        """The recorded verdict on each date's version. Dates without a verdict are left out."""
        return self._verdicts(table, versions)

    def judged_dates(self, table: str, versions: Mapping[date, str]) -> set[date]:
        """The dates whose version has a verdict, passed or failed. `table` is the table's name."""
        keys = {_key(table, day, version): day for day, version in versions.items()}
        return {keys[key] for key in self._artifacts.find_all(keys)}

    def refused_dates(self, table: Table, versions: Mapping[date, str]) -> list[date]:
        """The dates whose version has no verdict or a failed one."""
        verdicts = self._verdicts(table, versions)
        return [day for day in sorted(versions) if not verdicts.get(day, {}).get("passed")]

    def require(
        self, table: Table, versions: Mapping[date, str], dates: Collection[date] | None = None
    ) -> None:
        """Requires a passed verdict on the version of each date. Dates without a version are ignored.

        Raises:
            NoPassingVerdict: lists the dates with their failed checks and reports, or the quality asset to materialise.
        """
        required = {day: version for day, version in versions.items() if dates is None or day in dates}
        verdicts = self._verdicts(table, required)
        unjudged = [day for day in sorted(required) if day not in verdicts]
        failed = {day: verdicts[day] for day in sorted(verdicts) if not verdicts[day]["passed"]}
        if unjudged or failed:
            lines = [_unjudged_line(table, unjudged)] if unjudged else []
            lines += [_failed_line(table, day, verdict) for day, verdict in failed.items()]
            raise NoPassingVerdict("\n".join(lines), table, sorted([*unjudged, *failed]))

    def _verdicts(self, table: Table, versions: Mapping[date, str]) -> dict[date, dict[str, Any]]:
        keys = {_key(table.name, day, version): day for day, version in sorted(versions.items())}
        return {keys[key]: json.loads(content) for key, content in self._artifacts.find_all(keys).items()}


def verdict_keys(table: str, versions: Mapping[date, str]) -> list[str]:
    """The keys of the verdicts on these versions of a table's dates."""
    return [_key(table, day, version) for day, version in sorted(versions.items())]


def _key(table: str, day: date, version: str) -> str:
    return f"quality/verdicts/{table}/{day}/{version}.json"


def _unjudged_line(table: Table, days: Sequence[date]) -> str:
    listed = ", ".join(map(str, days[:5])) + (f" and {len(days) - 5} more" if len(days) > 5 else "")
    return (
        f"{table.name}: the present rows of {table.partition} {listed} were not checked. "
        f"Materialise {quality_asset_of(table.name)} for these dates."
    )


def _failed_line(table: Table, day: date, verdict: Mapping[str, Any]) -> str:
    return (
        f"{table.name}: {table.partition} {day} failed {', '.join(verdict.get('failed', ())) or 'its checks'}; "
        f"report: {verdict['report']}. Correct the rows at their source, then materialise {asset_of(table.name)} and "
        f"{quality_asset_of(table.name)} again."
    )
