"""The operator's facts and the settings that each asset depends on. If one of them changes, the asset's dates are outdated.

Their hash is part of the asset's code version, which Dagster records with every materialisation.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ruter_dagster.config.gtfs_location import gtfs_location
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.jobs import EVALUATION, FEEDS, LOAD_MODEL, PUBLISHED_FORECASTS, REFITTED_MODEL

_CALENDAR = frozenset({"country", "subdivision", "time_zone", "school_holidays", "events", "renames"})

FACTS = {
    "raw/stop_visits": frozenset({"rejects"}),
    "quality/stop_visits": frozenset({"rejects"}),
    "loads/stop_loads": frozenset({"time_zone", "loads"}),
    "features/departure_features": _CALENDAR,
    "features/levels": frozenset({"renames"}),
    "forecasts/load_forecasts": frozenset({"occupancy"}),
    "forecasts/challenger_forecasts": frozenset({"occupancy"}),
    PUBLISHED_FORECASTS: frozenset({"time_zone"}),
    FEEDS: frozenset({"name", "feed_identifiers", "time_zone"}),
    "monitoring/drift": frozenset({"drift", "country", "subdivision", "time_zone", "school_holidays"}),
}
"""Facts of the operator by asset. Facts that only reach an asset through another asset's rows are left out."""

_SOURCE_FACTS = {"tides": frozenset({"time_zone", "route_types"}), "warehouse": frozenset({"time_zone"})}
"""Facts of the operator that the raw data of a source depend on."""

_UNUSED = frozenset({"history_start", "day_closes_at", "events_file"})
_KNOWN = frozenset().union(*FACTS.values(), *_SOURCE_FACTS.values(), _UNUSED)

_SIMULATED_ASSETS = ("raw/stop_visits", "raw/planned_departures")
"""Assets that depend on the faults of the demo network."""

_TIMETABLE_ASSETS = ("raw/stop_visits", "raw/planned_departures")
"""Assets that depend on the address of the timetable: the plan, and the counts, which take their trip ids from it.

A newer feed at the same address outdates only dates without counts (sources/file_versions.py). Other dates keep their plan.
"""

SETTINGS = {
    "features/training_sample": frozenset({"training_rows_per_date", "training_seed"}),
    LOAD_MODEL: frozenset({"training_days", "evaluation_days", "training_seed"}),
    EVALUATION: frozenset({"evaluation_days"}),
    REFITTED_MODEL: frozenset({"training_days"}),
    "monitoring/forecast_performance": frozenset({"truth_final_days"}),
    "monitoring/line_scores": frozenset({"crowded_probability"}),
    FEEDS: frozenset({"feeds"}),
}
"""Settings by asset."""


def configuration_hash(asset: str, operator: Operator, settings: Settings) -> str:
    """Eight hexadecimal digits of the facts that the asset depends on. Empty if there are none.

    A fact that no asset names counts for every asset: an unnecessary run is better than a wrong result.
    """
    facts: dict[str, Any] = operator.model_dump(mode="json", include=_fields(asset, operator, settings))
    facts |= {name: getattr(settings, name) for name in SETTINGS.get(asset, ())}
    if asset.startswith("raw/") and settings.source == "warehouse":
        facts["queries"] = _file_hash(settings.warehouse_file or "")
    if asset in _SIMULATED_ASSETS and settings.source == "demo" and settings.demo_faults:
        facts["demo_faults"] = settings.demo_faults
    if asset in _TIMETABLE_ASSETS and (location := gtfs_location(settings)):
        facts["timetable"] = location
    if not facts:
        return ""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _fields(asset: str, operator: Operator, settings: Settings) -> set[str]:
    fields = FACTS.get(asset, frozenset())
    if asset.startswith("raw/"):
        fields |= _SOURCE_FACTS.get(settings.source, frozenset())
    return {*fields, *(type(operator).model_fields.keys() - _KNOWN)}


def _file_hash(file: str) -> str:
    """Hash of a local file of queries, else its address. Loading the code location must not wait for a remote file."""
    path = Path(file)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else file
