"""Opens the source of raw data that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ruter_dagster.config.demo_faults import parse_faults
from ruter_dagster.config.gtfs_location import gtfs_location
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.sources.base import Source

if TYPE_CHECKING:
    from ruter_dagster.sources.gtfs_source import StoredPlans


def open_source(settings: Settings, operator: Operator, stored_plans: StoredPlans | None = None) -> Source:
    """Opens the demo network, TIDES tables (with or without GTFS) or a warehouse. Only the module of that source is imported.

    `stored_plans` returns stored plans. A source with a timetable matches counts to them.
    """
    if settings.source == "demo":
        from ruter_dagster.sources.demo.source import DemoSource

        return DemoSource(settings.demo_seed, settings.demo_scale, parse_faults(settings.demo_faults or ""))
    if settings.source == "warehouse":
        from ruter_dagster.sources.warehouse import WarehouseSource

        return WarehouseSource.of(settings, operator)
    if location := gtfs_location(settings):
        from ruter_dagster.sources.gtfs_source import GtfsPlannedSource

        return GtfsPlannedSource.of(settings, operator, location, stored_plans)
    from ruter_dagster.sources.tides import TidesSource

    return TidesSource.of(settings, operator)
