"""A changed fact of the operator, or a changed setting, outdates the assets that follow from it, and no other."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.assets.configuration import configuration_hash
from ruter_dagster.config.operator import Operator
from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.definitions import build_definitions

OPERATOR = """
name = "Ruter"
country = "NO"
time_zone = "Europe/Oslo"
history_start = 2026-01-01
"""
RAW = {"raw/stop_visits", "raw/planned_departures", "raw/weather_forecasts"}
FEATURES, LOADS, FORECASTS = "features/departure_features", "loads/stop_loads", "forecasts/load_forecasts"
PUBLISHED, DRIFT = "forecasts/published_forecasts", "monitoring/drift"
FEEDS = "forecasts/feeds"
MODEL = "models/load_model"


def versions(**settings: Any) -> dict[str, str | None]:
    """The code version of each asset, as Dagster compares it."""
    loaded = load_settings(_env_file=None, **settings)
    graph = build_definitions(loaded).resolve_asset_graph()
    return {key.to_user_string(): graph.get(key).code_version for key in graph.materializable_asset_keys}


def changed(before: dict[str, str | None], after: dict[str, str | None]) -> set[str]:
    assert before.keys() == after.keys()
    return {asset for asset in before if before[asset] != after[asset]}


@pytest.mark.parametrize(
    ("line", "replacement", "outdated"),
    [
        ('"NO"', '"DK"', {FEATURES, DRIFT}),
        ('"Europe/Oslo"', '"Europe/London"', {FEATURES, LOADS, PUBLISHED, FEEDS, DRIFT, *RAW}),
        (
            "2026-01-01\n",
            "2026-01-01\n[occupancy]\nempty_below = 2.0\n",
            {FORECASTS, "forecasts/challenger_forecasts"},
        ),
        (
            "2026-01-01\n",
            '2026-01-01\n[[school_holidays]]\nname = "Winter"\nfrom = 2026-02-16\nto = 2026-02-20\n',
            {FEATURES, DRIFT},
        ),
        ("2026-01-01\n", '2026-01-01\n[[events]]\nname = "Match"\ndate = 2026-05-01\n', {FEATURES}),
        ("2026-01-01\n", '2026-01-01\n[route_types]\n"900" = "tram"\n', RAW),
        (
            "2026-01-01\n",
            '2026-01-01\n[[renames]]\nline = "1B"\nwas = "1A"\nfrom = 2026-05-01\n',
            {FEATURES, "features/levels"},
        ),
        (
            "2026-01-01\n",
            "2026-01-01\n[rejects]\nshare_of_date = 0.1\n",
            {"raw/stop_visits", "quality/stop_visits"},
        ),
        ("2026-01-01\n", '2026-01-01\n[loads.lines]\n"20" = "always"\n', {LOADS}),
        ("2026-01-01\n", "2026-01-01\n[drift.metrics.bias]\nwarn = 0.2\n", {DRIFT}),
        ('"Ruter"', '"Another name"', {FEEDS}),
        ("2026-01-01\n", '2026-01-01\n[feed_identifiers]\ncodespace = "RUT"\n', {FEEDS}),
        ("2026-01-01\n", "2026-01-01\nday_closes_at = 03:00:00\n", set()),
    ],
)
def test_changed_operator_outdates_what_follows_from_it(
    tmp_path: Path, line: str, replacement: str, outdated: set[str]
) -> None:
    file = tmp_path / "operator.toml"
    file.write_text(OPERATOR)
    before = versions(source="tides", tides_path=str(tmp_path))
    assert line in OPERATOR
    file.write_text(OPERATOR.replace(line, replacement))
    assert changed(before, versions(source="tides", tides_path=str(tmp_path))) == outdated


def test_a_timetable_elsewhere_outdates_plan_and_counts(tmp_path: Path) -> None:
    """Counts take their trip ids from it."""
    (tmp_path / "operator.toml").write_text(OPERATOR)
    none, here, there = (
        versions(source="tides", tides_path=str(tmp_path), gtfs_path=path)
        for path in (None, "feeds", "others")
    )
    assert changed(none, here) == changed(here, there) == {"raw/stop_visits", "raw/planned_departures"}


def test_faults_of_the_demo_network_outdate_counts_and_plans() -> None:
    faults = "silent_line:2026-11-16:2026-11-20"
    assert changed(versions(source="demo"), versions(source="demo", demo_faults=faults)) == RAW - {
        "raw/weather_forecasts"
    }


def test_same_operator_outdates_nothing(tmp_path: Path) -> None:
    (tmp_path / "operator.toml").write_text(OPERATOR)
    first, again = (versions(source="tides", tides_path=str(tmp_path)) for _ in range(2))
    assert changed(first, again) == set()


def test_demo_network_does_not_follow_from_the_operator() -> None:
    assert changed(versions(), versions(operator="ruter")) & RAW == set()


@pytest.mark.parametrize(
    ("setting", "outdated"),
    [
        ({"training_days": 60}, {MODEL, "models/refitted_model"}),
        ({"evaluation_days": 10}, {MODEL, "models/evaluation"}),
        ({"training_rows_per_date": 400}, {"features/training_sample"}),
        ({"training_seed": 2}, {"features/training_sample", MODEL}),
        ({"feeds": ("siri-et",)}, {FEEDS}),
    ],
)
def test_changed_settings_outdate_what_follows_from_them(setting: dict[str, int], outdated: set[str]) -> None:
    assert changed(versions(), versions(**setting)) == outdated


def test_changed_queries_outdate_the_raw_data_of_a_warehouse(tmp_path: Path) -> None:
    file = tmp_path / "queries.toml"
    file.write_text("one")
    before = versions(source="warehouse", warehouse_file=str(file))
    file.write_text("another")
    assert changed(before, versions(source="warehouse", warehouse_file=str(file))) == RAW


def test_fact_without_assets_counts_for_every_asset() -> None:
    class WithMore(Operator):
        unlisted: int = 0

    facts = {
        "name": "X",
        "country": "NO",
        "time_zone": "Europe/Oslo",
        "history_start": date(2026, 1, 1),
    }
    settings = Settings(_env_file=None)  # pyright: ignore[reportCallIssue]
    before, after = (
        WithMore.model_validate(facts),
        WithMore.model_validate({**facts, "unlisted": 1}),
    )
    for asset in (FEATURES, "quality/stop_visits", "models/champion"):
        assert configuration_hash(asset, before, settings) != configuration_hash(asset, after, settings)
