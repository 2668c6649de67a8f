"""Verdicts on quality: whether the rows of a date, as they are now, may be read. Judging them belongs in quality."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import asset_of, quality_asset_of
from ruter_dagster.contracts.tables import Table
from ruter_dagster.storage.artifacts import ArtifactStore


class NotPassed(PermanentFailure):
    """Dates whose present rows have no passing verdict."""

    def __init__(self, message: str, table: Table, dates: Sequence[date]) -> None:
        super().__init__(message)
        self.table, self.dates = table, tuple(dates)


class Verdicts:
    """Verdicts by table, date and content version, one small file each: rows that change have none until judged anew."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def record(self, table: Table, day: date, version: str, summary: Mapping[str, Any], report: str) -> None:
        """Keeps the verdict on a date's rows. `summary` is JSON values with `passed` and the names in `failed`."""
        verdict = {**summary, "report": report}
        self._artifacts.put(_key(table.name, day, version), json.dumps(verdict, sort_keys=True).encode())

    def summaries(self, table: Table, versions: Mapping[date, str]) -> list[dict[str, Any]]:
        """The verdicts that there are on these versions, by date."""
        return list(self._find(table, versions).values())

    def judged(self, table: str, versions: Mapping[date, str]) -> set[date]:
        """Those of the dates whose version has a verdict, passing or not; `table` is its name."""
        keys = {_key(table, day, version): day for day, version in versions.items()}
        return {keys[key] for key in self._artifacts.find_all(keys)}

    def refused(self, table: Table, versions: Mapping[date, str]) -> list[date]:
        """Those of the dates whose version has no verdict, or one that does not pass."""
        found = self._find(table, versions)
        return [day for day in sorted(versions) if not found.get(day, {}).get("passed")]

    def require(
        self, table: Table, versions: Mapping[date, str], dates: Collection[date] | None = None
    ) -> None:
        """Nothing, if the present version of every date passed; dates without a version are the reader's to name.

        Raises:
            NotPassed: the dates, what failed on each and where the report lies, or which quality asset to materialise.
        """
        wanted = {day: version for day, version in versions.items() if dates is None or day in dates}
        found = self._find(table, wanted)
        unjudged = [day for day in sorted(wanted) if day not in found]
        failed = {day: found[day] for day in sorted(found) if not found[day]["passed"]}
        if unjudged or failed:
            lines = [_unjudged_line(table, unjudged)] if unjudged else []
            lines += [_failed_line(table, day, verdict) for day, verdict in failed.items()]
            raise NotPassed("\n".join(lines), table, sorted([*unjudged, *failed]))

    def _find(self, table: Table, versions: Mapping[date, str]) -> dict[date, dict[str, Any]]:
        keys = {_key(table.name, day, version): day for day, version in sorted(versions.items())}
        return {keys[key]: json.loads(content) for key, content in self._artifacts.find_all(keys).items()}


def _key(table: str, day: date, version: str) -> str:
    return f"quality/verdicts/{table}/{day}/{version}.json"


def _unjudged_line(table: Table, days: Sequence[date]) -> str:
    listed = ", ".join(map(str, days[:5])) + (f" and {len(days) - 5} more" if len(days) > 5 else "")
    return (
        f"{table.name}: the rows of {table.partition} {listed} have not been judged as they are now. "
        f"Materialise {quality_asset_of(table.name)} for that."
    )


def _failed_line(table: Table, day: date, verdict: Mapping[str, Any]) -> str:
    return (
        f"{table.name}: {table.partition} {day} did not pass {', '.join(verdict.get('failed', ())) or 'its checks'}; "
        f"report: {verdict['report']}. Correct it at its source, then materialise {asset_of(table.name)} and "
        f"{quality_asset_of(table.name)} again."
    )
