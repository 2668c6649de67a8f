"""What a tick of the alert sensor knows, and what detectors return. Each detector is a function of these, without a clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from dagster import AssetsDefinition, DagsterInstance, DailyPartitionsDefinition

from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.alerts import Kind
from ruter_dagster.contracts.jobs import PUBLISHED_FORECASTS, QUALITY_GROUP
from ruter_dagster.notifications.incidents import Incident, Incidents, Key, Problem
from ruter_dagster.orchestration.partitions import Partitions

MAX_DOWNSTREAM = 5
"""Assets downstream that a message names."""


@dataclass(frozen=True)
class Deployment:
    """What alerts need to know of the definitions: settings, operator, partitions, and the assets that read each asset."""

    settings: Settings
    operator: Operator
    partitions: Partitions
    readers: Mapping[str, frozenset[str]]

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.operator.time_zone)

    def downstream(self, asset: str) -> list[str]:
        """The assets that depend on an asset, the published forecasts first. Quality reports are left out."""
        downstream: set[str] = set()
        pending = [asset]
        while pending:
            new = self.readers.get(pending.pop(), frozenset()) - downstream
            downstream |= new
            pending += new
        names = [name for name in downstream if not name.startswith(f"{QUALITY_GROUP}/")]
        return sorted(names, key=lambda name: (name != PUBLISHED_FORECASTS, name))

    def not_updated(self, asset: str | None) -> str:
        """The first assets that depend on an asset, in words. Empty if there are none."""
        names = self.downstream(asset) if asset else []
        more = f" and {len(names) - MAX_DOWNSTREAM} more" if len(names) > MAX_DOWNSTREAM else ""
        return f"Not updated: {', '.join(names[:MAX_DOWNSTREAM])}{more}" if names else ""


def readers_of(assets: Iterable[AssetsDefinition]) -> dict[str, frozenset[str]]:
    """The assets that read each asset directly."""
    readers: dict[str, set[str]] = {}
    for asset in assets:
        for spec in asset.specs:
            for dep in spec.deps:
                readers.setdefault(dep.asset_key.to_user_string(), set()).add(spec.key.to_user_string())
    return {asset: frozenset(names) for asset, names in readers.items()}


@dataclass(frozen=True)
class Observation:
    """One tick: the instance, the deployment, the open incidents, and the time, with a time zone."""

    instance: DagsterInstance
    deployment: Deployment
    incidents: Incidents
    now: datetime

    @property
    def settings(self) -> Settings:
        return self.deployment.settings

    @property
    def local_now(self) -> datetime:
        return self.now.astimezone(self.deployment.zone)

    def local(self, day: date, time_of_day: str | time) -> datetime:
        """A local time of a date, `time_of_day` as HH:MM."""
        at = time.fromisoformat(time_of_day) if isinstance(time_of_day, str) else time_of_day
        return datetime.combine(day, at, self.deployment.zone)

    def newest_closed_date(self) -> date:
        """The newest operating date that has ended."""
        today = self.local_now.date()
        closes_at = self.local(today, self.deployment.operator.day_closes_at)
        return today - timedelta(1 if self.local_now >= closes_at else 2)

    def open_incidents(self, *kinds: Kind) -> list[Incident]:
        return [incident for incident in self.incidents.open if incident.problem.kind in kinds]

    def link(self, text: str, path: str) -> tuple[str, str]:
        """Text and address of a page of Dagster's UI."""
        return text, f"{self.settings.dagster_url.rstrip('/')}/{path}"


def is_partition(partitions: DailyPartitionsDefinition, day: date) -> bool:
    """Whether the definition has this date, once it has begun. Partitions of a demo end at its issue date."""
    end = partitions.end
    return partitions.start.date() <= day and (end is None or day < end.date())


@dataclass
class Findings:
    """Problems that are present, and those that are over, with the reason."""

    active: list[Problem] = field(default_factory=list)
    over: dict[Key, str] = field(default_factory=dict)

    def add(self, other: Findings) -> None:
        self.active += other.active
        self.over |= other.over
