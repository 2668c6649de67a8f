"""Outdated dates: never materialised, of other code, or older than changed content of an input. No other date is outdated."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, Definitions

from ruter_dagster.contracts.file_versions import FileVersions
from ruter_dagster.orchestration.staleness import FindFileVersions, is_outdated, outdated_dates
from tests.scripted_launcher import defs, write_script

FIRST, LAST = date(2026, 3, 24), date(2026, 3, 29)
DAYS = [FIRST + timedelta(ahead) for ahead in range((LAST - FIRST).days + 1)]
LOADS = ("raw/stop_visits", "quality/stop_visits", "loads/stop_loads", "quality/stop_loads")
LEVELS = ("features/levels", "quality/levels")
ISSUED = [day + timedelta(1) for day in DAYS]
"""Issue dates whose levels include those days."""

ASSETS = dict.fromkeys(LOADS, DAYS) | dict.fromkeys(LEVELS, ISSUED)


def materialise(instance: DagsterInstance, job: str, *assets: str, days: list[date] | None = None) -> None:
    days = days or []
    span = {"start": days[0], "end": days[-1]} if len(days) > 1 else {}
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=str(days[0]) if len(days) == 1 else None,
        asset_selection=[AssetKey.from_user_string(asset) for asset in assets],
        tags={f"dagster/asset_partition_range_{end}": str(day) for end, day in span.items()},
    )
    assert result.success


def with_code_version(asset: str, version: str) -> Definitions:
    """The definitions as if the code of one asset had changed."""
    key = AssetKey.from_user_string(asset)
    changed = [
        defs.resolve_assets_def(other).map_asset_specs(
            lambda spec: spec.replace_attributes(code_version=version) if spec.key == key else spec
        )
        for other in defs.resolve_asset_graph().materializable_asset_keys
    ]
    return Definitions(assets=changed)


SAMPLE = "features/training_sample"
MODELS = ("load_model", "evaluation", "refitted_model", "champion")


@pytest.fixture
def history(instance: DagsterInstance) -> DagsterInstance:
    """An instance with six days of loads and levels."""
    materialise(instance, "counts", *LOADS, days=DAYS)
    materialise(instance, "forecasting", *LEVELS, days=ISSUED)
    return instance


def test_dates_never_materialised_are_outdated(instance: DagsterInstance) -> None:
    assert outdated_dates(defs, instance, "loads/stop_loads", DAYS) == DAYS
    assert is_outdated(defs, instance, "models/load_model")


def test_later_plan_outdates_reports_on_counts(
    history: DagsterInstance,
) -> None:
    materialise(history, "plan", "raw/planned_departures", days=DAYS[1:3])
    for asset in ("quality/stop_visits", "quality/stop_loads"):
        assert outdated_dates(defs, history, asset, DAYS) == DAYS[1:3]
    assert outdated_dates(defs, history, "loads/stop_loads", DAYS) == []


def test_only_missing_dates_are_outdated(instance: DagsterInstance) -> None:
    materialise(instance, "counts", *LOADS, days=DAYS[:4])
    assert outdated_dates(defs, instance, "loads/stop_loads", DAYS) == DAYS[4:]


def test_same_content_again_outdates_nothing(
    history: DagsterInstance,
) -> None:
    for asset, days in ASSETS.items():
        assert outdated_dates(defs, history, asset, days) == []
    materialise(history, "counts", "raw/stop_visits", days=DAYS[1:3])
    materialise(history, "counts", "loads/stop_loads", days=[DAYS[4]])
    for asset, days in ASSETS.items():
        assert outdated_dates(defs, history, asset, days) == []


def test_changed_content_outdates_dependent_dates(history: DagsterInstance) -> None:
    write_script(history, loads__stop_loads={"content": "corrected"})
    materialise(history, "counts", "loads/stop_loads", days=[DAYS[3]])
    outdated = {asset: outdated_dates(defs, history, asset, days) for asset, days in ASSETS.items()}
    assert outdated == {
        "raw/stop_visits": [],
        "quality/stop_visits": [],
        "loads/stop_loads": [],
        "quality/stop_loads": [DAYS[3]],
        "features/levels": ISSUED[3:],
        "quality/levels": [],
    }, "levels read two weeks of loads; their reports are outdated only after new levels"


def test_new_code_outdates_only_its_asset(history: DagsterInstance) -> None:
    changed = with_code_version("loads/stop_loads", "other")
    assert outdated_dates(changed, history, "loads/stop_loads", DAYS) == DAYS
    for asset, days in ASSETS.items():
        assert asset == "loads/stop_loads" or outdated_dates(changed, history, asset, days) == []


def test_changed_input_outdates_model(history: DagsterInstance) -> None:
    materialise(history, "sampling", SAMPLE, days=DAYS)
    materialise(history, "training", "models/load_model")
    materialise(history, "sampling", SAMPLE, days=DAYS[:2])
    assert not is_outdated(defs, history, "models/load_model"), "the content is the same"
    write_script(history, features__training_sample={"content": "corrected"})
    materialise(history, "sampling", SAMPLE, days=[DAYS[0]])
    assert is_outdated(defs, history, "models/load_model")


def test_new_date_outdates_model(history: DagsterInstance) -> None:
    materialise(history, "sampling", SAMPLE, days=DAYS[:-1])
    materialise(history, "training", "models/load_model")
    materialise(history, "sampling", SAMPLE, days=[DAYS[-1]])
    assert is_outdated(defs, history, "models/load_model")


def test_date_without_data_does_not_outdate_model(instance: DagsterInstance) -> None:
    write_script(instance, features__training_sample={"absent": [str(DAYS[1])]})
    materialise(instance, "sampling", SAMPLE, days=DAYS)
    materialise(instance, "training", "models/load_model")
    materialise(instance, "sampling", SAMPLE, days=DAYS)
    assert not is_outdated(defs, instance, "models/load_model")


def test_only_new_model_outdates_evaluation(
    instance: DagsterInstance,
) -> None:
    versions = {f"models__{name}": {"model_version": "3f2a"} for name in ("load_model", "evaluation")}
    write_script(instance, **versions)
    materialise(instance, "training", "models/load_model", "models/evaluation")
    materialise(instance, "training", "models/load_model")
    assert not is_outdated(defs, instance, "models/evaluation")
    write_script(instance, models__load_model={"model_version": "77c1", "content": "another"})
    materialise(instance, "training", "models/load_model")
    assert is_outdated(defs, instance, "models/evaluation")


def test_new_champion_does_not_outdate_forecasts(instance: DagsterInstance) -> None:
    materialise(instance, "forecasting", "forecasts/load_forecasts", days=[LAST])
    write_script(
        instance,
        **{f"models__{name}": {"model_version": "3f2a"} for name in MODELS},
    )
    materialise(instance, "training", *(f"models/{name}" for name in MODELS))
    assert outdated_dates(defs, instance, "forecasts/load_forecasts", [LAST]) == []


class StubState:
    """A state without the rows and verdicts of some dates, or without models."""

    def __init__(self, rows: set[date] | None = None, verdicts: set[date] | None = None, model: bool = True):
        self._rows, self._verdicts, self._model = rows or set(), verdicts or set(), model

    def lost_dates(self, table: str, recorded: dict[date, str]) -> set[date]:
        assert table in {"raw.stop_visits", "loads.stop_loads", "features.levels"}
        return self._rows & recorded.keys()

    def unjudged_dates(self, table: str, dates: set[date]) -> set[date]:
        assert table in {"raw.stop_visits", "loads.stop_loads", "features.levels"}
        return self._verdicts & dates

    def has_model(self, version: str) -> bool:
        return self._model

    has_champion = has_model


def test_dates_with_lost_rows_are_outdated(history: DagsterInstance) -> None:
    stored: Any = StubState(rows={DAYS[2], date(2026, 1, 1)})
    for asset in ("raw/stop_visits", "loads/stop_loads"):
        assert outdated_dates(defs, history, asset, DAYS, stored) == [DAYS[2]]
    assert outdated_dates(defs, history, "quality/stop_visits", DAYS, stored) == []


def test_dates_with_lost_verdict_are_outdated(history: DagsterInstance) -> None:
    stored: Any = StubState(verdicts={DAYS[2]})
    assert outdated_dates(defs, history, "quality/stop_visits", DAYS, stored) == [DAYS[2]]
    assert outdated_dates(defs, history, "raw/stop_visits", DAYS, stored) == []


def test_date_without_data_cannot_be_lost(instance: DagsterInstance) -> None:
    write_script(instance, raw__stop_visits={"absent": [str(DAYS[1])]})
    materialise(instance, "counts", "raw/stop_visits", days=DAYS)
    stored: Any = StubState(rows=set(DAYS))
    assert DAYS[1] not in outdated_dates(defs, instance, "raw/stop_visits", DAYS, stored)


def test_lost_model_is_outdated(history: DagsterInstance) -> None:
    write_script(history, models__load_model={"model_version": "0123"})
    materialise(history, "training", "models/load_model")
    stored: Any = StubState()
    lost: Any = StubState(model=False)
    assert not is_outdated(defs, history, "models/load_model", stored)
    assert is_outdated(defs, history, "models/load_model", lost)


def files(own: str, shared: str = "s1") -> FindFileVersions:
    """The same versions of the source files for every date."""
    return lambda _, dates: {day: FileVersions(own, shared, lambda: f"rows of {shared}") for day in dates}


@pytest.mark.parametrize(
    ("recorded", "now", "outdated"),
    [
        ("a1", files("a1", "s2"), []),
        ("a1", files("a2"), DAYS),
        ("a1+s1+rows of s1", files("a1", "s1"), []),
        ("a1+s1+rows of s2", files("a1", "s2"), []),
        ("a1+s1+rows of s1", files("a1", "s2"), DAYS),
        ("a1", None, []),
    ],
    ids=[
        "no shared file recorded",
        "other own files",
        "same files",
        "other shared file with the same rows",
        "other shared file with other rows",
        "files not compared",
    ],
)
def test_changed_files_outdate_raw_data(
    instance: DagsterInstance, recorded: str, now: FindFileVersions | None, outdated: list[date]
) -> None:
    """Also for dates that the range left out, for instance because a check blocked them."""
    write_script(instance, raw__stop_visits={"source_versions": recorded, "absent": [str(DAYS[1])]})
    materialise(instance, "counts", *LOADS[:2], days=DAYS)
    assert outdated_dates(defs, instance, LOADS[0], DAYS, find_files=now) == outdated
    assert outdated_dates(defs, instance, LOADS[1], DAYS, find_files=now) == []


@pytest.mark.parametrize(
    ("feed", "counted", "outdated"), [("f1", [], []), ("f2", [], DAYS[:2]), ("f2", [DAYS[0]], [DAYS[1]])]
)
def test_new_feed_outdates_plan_only_before_counts(
    instance: DagsterInstance, feed: str, counted: list[date], outdated: list[date]
) -> None:
    write_script(instance, raw__planned_departures={"source_versions": "feed f1"})
    materialise(instance, "plan", "raw/planned_departures", days=DAYS[:2])
    for day in counted:
        materialise(instance, "counts", "raw/stop_visits", days=[day])

    def now(_: str, dates: Collection[date]) -> dict[date, FileVersions]:
        return {
            day: FileVersions("none", "s", lambda: "none", lambda: feed, is_ahead=day not in counted)
            for day in dates
        }

    assert outdated_dates(defs, instance, "raw/planned_departures", DAYS[:2], find_files=now) == outdated


def test_raw_data_without_recorded_files_is_not_outdated(instance: DagsterInstance) -> None:
    materialise(instance, "counts", LOADS[0], days=DAYS)
    assert outdated_dates(defs, instance, LOADS[0], DAYS, find_files=files("a1")) == []
