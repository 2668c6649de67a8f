"""What is out of date: dates never made, made by other code, or made before an input's content changed. Nothing else."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, Definitions

from ruter_dagster.contracts.file_versions import FileVersions
from ruter_dagster.orchestration.staleness import Delivered, is_out_of_date, out_of_date
from tests.scripted_launcher import defs, write_script

FIRST, LAST = date(2026, 3, 24), date(2026, 3, 29)
DAYS = [FIRST + timedelta(ahead) for ahead in range((LAST - FIRST).days + 1)]
LOADS = ("raw/stop_visits", "quality/stop_visits", "loads/stop_loads", "quality/stop_loads")
LEVELS = ("features/levels", "quality/levels")
ISSUED = [day + timedelta(1) for day in DAYS]
"""Issue dates on which the levels know those days."""

ASSETS = dict.fromkeys(LOADS, DAYS) | dict.fromkeys(LEVELS, ISSUED)


def make(instance: DagsterInstance, job: str, *assets: str, days: list[date] | None = None) -> None:
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
        defs.resolve_assets_def(known).map_asset_specs(
            lambda spec: spec.replace_attributes(code_version=version) if spec.key == key else spec
        )
        for known in defs.resolve_asset_graph().materializable_asset_keys
    ]
    return Definitions(assets=changed)


SAMPLE = "features/training_sample"
MODELS = ("load_model", "evaluation", "refitted_model", "champion")


@pytest.fixture
def made(instance: DagsterInstance) -> DagsterInstance:
    """Six days of loads and levels."""
    make(instance, "counts", *LOADS, days=DAYS)
    make(instance, "forecasting", *LEVELS, days=ISSUED)
    return instance


def test_what_was_never_made_is_out_of_date(instance: DagsterInstance) -> None:
    assert out_of_date(defs, instance, "loads/stop_loads", DAYS) == DAYS
    assert is_out_of_date(defs, instance, "models/load_model")


def test_reports_on_counts_are_when_the_plan_that_they_compare_with_comes_later(
    made: DagsterInstance,
) -> None:
    make(made, "plan", "raw/planned_departures", days=DAYS[1:3])
    for asset in ("quality/stop_visits", "quality/stop_loads"):
        assert out_of_date(defs, made, asset, DAYS) == DAYS[1:3]
    assert out_of_date(defs, made, "loads/stop_loads", DAYS) == []


def test_only_the_dates_that_are_missing_are(instance: DagsterInstance) -> None:
    make(instance, "counts", *LOADS, days=DAYS[:4])
    assert out_of_date(defs, instance, "loads/stop_loads", DAYS) == DAYS[4:]


def test_what_was_made_in_order_is_up_to_date_and_the_same_content_again_changes_nothing(
    made: DagsterInstance,
) -> None:
    for asset, days in ASSETS.items():
        assert out_of_date(defs, made, asset, days) == []
    make(made, "counts", "raw/stop_visits", days=DAYS[1:3])
    make(made, "counts", "loads/stop_loads", days=[DAYS[4]])
    for asset, days in ASSETS.items():
        assert out_of_date(defs, made, asset, days) == []


def test_changed_content_of_a_date_reaches_the_dates_that_depend_on_it(made: DagsterInstance) -> None:
    write_script(made, loads__stop_loads={"content": "corrected"})
    make(made, "counts", "loads/stop_loads", days=[DAYS[3]])
    found = {asset: out_of_date(defs, made, asset, days) for asset, days in ASSETS.items()}
    assert found == {
        "raw/stop_visits": [],
        "quality/stop_visits": [],
        "loads/stop_loads": [],
        "quality/stop_loads": [DAYS[3]],
        "features/levels": ISSUED[3:],
        "quality/levels": [],
    }, "levels read two weeks of loads; what follows from them is known once they are made again"


def test_other_code_makes_its_own_asset_out_of_date_and_no_other(made: DagsterInstance) -> None:
    changed = with_code_version("loads/stop_loads", "other")
    assert out_of_date(changed, made, "loads/stop_loads", DAYS) == DAYS
    for asset, days in ASSETS.items():
        assert asset == "loads/stop_loads" or out_of_date(changed, made, asset, days) == []


def test_a_model_is_out_of_date_once_the_content_of_an_input_changed(made: DagsterInstance) -> None:
    make(made, "sampling", SAMPLE, days=DAYS)
    make(made, "training", "models/load_model")
    make(made, "sampling", SAMPLE, days=DAYS[:2])
    assert not is_out_of_date(defs, made, "models/load_model"), "the same content again"
    write_script(made, features__training_sample={"content": "corrected"})
    make(made, "sampling", SAMPLE, days=[DAYS[0]])
    assert is_out_of_date(defs, made, "models/load_model")


def test_a_date_that_came_after_the_training_makes_the_model_out_of_date(made: DagsterInstance) -> None:
    make(made, "sampling", SAMPLE, days=DAYS[:-1])
    make(made, "training", "models/load_model")
    make(made, "sampling", SAMPLE, days=[DAYS[-1]])
    assert is_out_of_date(defs, made, "models/load_model")


def test_a_date_that_is_absent_again_changes_nothing(instance: DagsterInstance) -> None:
    write_script(instance, features__training_sample={"absent": [str(DAYS[1])]})
    make(instance, "sampling", SAMPLE, days=DAYS)
    make(instance, "training", "models/load_model")
    make(instance, "sampling", SAMPLE, days=DAYS)
    assert not is_out_of_date(defs, instance, "models/load_model")


def test_an_evaluation_is_out_of_date_with_another_model_and_not_with_the_same(
    instance: DagsterInstance,
) -> None:
    versions = {f"models__{name}": {"model_version": "3f2a"} for name in ("load_model", "evaluation")}
    write_script(instance, **versions)
    make(instance, "training", "models/load_model", "models/evaluation")
    make(instance, "training", "models/load_model")
    assert not is_out_of_date(defs, instance, "models/evaluation")
    write_script(instance, models__load_model={"model_version": "77c1", "content": "another"})
    make(instance, "training", "models/load_model")
    assert is_out_of_date(defs, instance, "models/evaluation")


def test_a_new_champion_leaves_forecasts_as_they_are(instance: DagsterInstance) -> None:
    make(instance, "forecasting", "forecasts/load_forecasts", days=[LAST])
    write_script(
        instance,
        **{f"models__{name}": {"model_version": "3f2a"} for name in MODELS},
    )
    make(instance, "training", *(f"models/{name}" for name in MODELS))
    assert out_of_date(defs, instance, "forecasts/load_forecasts", [LAST]) == []


class Present:
    """A state that has lost these dates of tables, verdicts and models."""

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


def test_dates_whose_rows_are_lost_are_out_of_date(made: DagsterInstance) -> None:
    present: Any = Present(rows={DAYS[2], date(2026, 1, 1)})
    for asset in ("raw/stop_visits", "loads/stop_loads"):
        assert out_of_date(defs, made, asset, DAYS, present) == [DAYS[2]]
    assert out_of_date(defs, made, "quality/stop_visits", DAYS, present) == []


def test_dates_whose_verdict_is_lost_are_out_of_date(made: DagsterInstance) -> None:
    present: Any = Present(verdicts={DAYS[2]})
    assert out_of_date(defs, made, "quality/stop_visits", DAYS, present) == [DAYS[2]]
    assert out_of_date(defs, made, "raw/stop_visits", DAYS, present) == []


def test_date_that_was_absent_has_lost_nothing(instance: DagsterInstance) -> None:
    write_script(instance, raw__stop_visits={"absent": [str(DAYS[1])]})
    make(instance, "counts", "raw/stop_visits", days=DAYS)
    present: Any = Present(rows=set(DAYS))
    assert DAYS[1] not in out_of_date(defs, instance, "raw/stop_visits", DAYS, present)


def test_lost_model_is_out_of_date(made: DagsterInstance) -> None:
    write_script(made, models__load_model={"model_version": "0123"})
    make(made, "training", "models/load_model")
    there: Any = Present()
    lost: Any = Present(model=False)
    assert not is_out_of_date(defs, made, "models/load_model", there)
    assert is_out_of_date(defs, made, "models/load_model", lost)


def files(own: str, shared: str = "s1") -> Delivered:
    """What the source has of every date."""
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
        "another shared file of the same rows",
        "another shared file of other rows",
        "not asked",
    ],
)
def test_raw_data_is_out_of_date_once_its_files_changed(
    instance: DagsterInstance, recorded: str, now: Delivered | None, outdated: list[date]
) -> None:
    """Dates that a range left out, as blocked ones, are read again once they were corrected."""
    write_script(instance, raw__stop_visits={"source_versions": recorded, "absent": [str(DAYS[1])]})
    make(instance, "counts", *LOADS[:2], days=DAYS)
    assert out_of_date(defs, instance, LOADS[0], DAYS, delivered=now) == outdated
    assert out_of_date(defs, instance, LOADS[1], DAYS, delivered=now) == []


@pytest.mark.parametrize(
    ("feed", "counted", "outdated"), [("f1", [], []), ("f2", [], DAYS[:2]), ("f2", [DAYS[0]], [DAYS[1]])]
)
def test_a_plan_ahead_follows_its_feed_until_counts_are_matched_to_it(
    instance: DagsterInstance, feed: str, counted: list[date], outdated: list[date]
) -> None:
    write_script(instance, raw__planned_departures={"source_versions": "feed f1"})
    make(instance, "plan", "raw/planned_departures", days=DAYS[:2])
    for day in counted:
        make(instance, "counts", "raw/stop_visits", days=[day])

    def now(_: str, dates: Collection[date]) -> dict[date, FileVersions]:
        return {
            day: FileVersions("none", "s", lambda: "none", lambda: feed, is_ahead=day not in counted)
            for day in dates
        }

    assert out_of_date(defs, instance, "raw/planned_departures", DAYS[:2], delivered=now) == outdated


def test_raw_data_of_which_no_files_were_recorded_stays(instance: DagsterInstance) -> None:
    make(instance, "counts", LOADS[0], days=DAYS)
    assert out_of_date(defs, instance, LOADS[0], DAYS, delivered=files("a1")) == []
