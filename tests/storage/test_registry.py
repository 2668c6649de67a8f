"""A model version is told by what it is made from; a forecast takes the newest champion that had not seen the future."""

import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import NEWEST
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.registry import ModelRecord, ModelRegistry, model_version

TRAINING = {"features.levels": {"2026-11-01": "a", "2026-11-02": "b"}}
RECORD = ModelRecord(
    name="load_model",
    version="0123",
    training_cutoff=date(2026, 11, 2),
    parameters={"num_leaves": 63, "objective": "poisson"},
    code_version="3",
    inputs={"features.levels": {"snapshot_id": 17, "dates": TRAINING["features.levels"]}},
    features=("slot_hour", "lag_7"),
    metrics={"wape": 0.25},
)
NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(ArtifactStore.at(tmp_path))


def champion(registry: ModelRegistry, version: str, cutoff: date, promoted_at: datetime = NOON) -> None:
    registry.save(replace(RECORD, version=version, training_cutoff=cutoff), {})
    registry.promote("load_model", version, promoted_at, {"wape": 0.2})


def test_the_version_follows_rows_parameters_and_code_and_nothing_else():
    version = model_version(TRAINING, {"a": 1, "b": 2}, "1")
    assert version == model_version(
        {"features.levels": dict(reversed(TRAINING["features.levels"].items()))}, {"b": 2, "a": 1}, "1"
    )
    others = {
        model_version({"features.levels": {"2026-11-01": "a", "2026-11-02": "c"}}, {"a": 1, "b": 2}, "1"),
        model_version(TRAINING, {"a": 1, "b": 3}, "1"),
        model_version(TRAINING, {"a": 1, "b": 2}, "2"),
    }
    assert len(others | {version}) == 4


def test_a_saved_version_is_loaded_with_its_record_and_files(registry: ModelRegistry):
    registry.save(RECORD, {"mean.txt": b"trees", "quantiles/p10.txt": b"more trees"})
    assert registry.exists("load_model", "0123")
    assert registry.load("load_model", "0123") == RECORD
    assert registry.files(RECORD) == {"mean.txt": b"trees", "quantiles/p10.txt": b"more trees"}
    assert registry.file(RECORD, "mean.txt") == b"trees"


def test_a_version_that_is_absent_is_named_with_its_place(registry: ModelRegistry):
    with pytest.raises(
        PermanentFailure, match=r"no version 42 of load_model at file:///.*Materialise models/load_model"
    ):
        registry.load("load_model", "42")


def test_a_version_whose_training_broke_off_is_not_there(registry: ModelRegistry, tmp_path: Path):
    class Full(ArtifactStore):
        def put(self, key: str, content: bytes) -> None:
            if key.endswith("model.json"):
                raise OSError("no room")
            super().put(key, content)

    broken = ModelRegistry(Full.at(tmp_path))
    with pytest.raises(OSError, match="no room"):
        broken.save(RECORD, {"mean.txt": b"trees"})
    assert not registry.exists("load_model", "0123")


def test_a_candidate_is_no_champion_until_promoted(registry: ModelRegistry):
    registry.save(RECORD, {})
    assert registry.newest_champion("load_model", date(2026, 12, 1)) is None
    registry.promote("load_model", "0123", NOON, {"wape": 0.2})
    assert registry.newest_champion("load_model", date(2026, 12, 1)) == "0123"
    assert registry.files(RECORD) == {}


def test_the_newest_training_up_to_the_cutoff_wins(registry: ModelRegistry):
    champion(registry, "old", date(2026, 11, 1))
    champion(registry, "new", date(2026, 11, 8), promoted_at=datetime(2026, 11, 2, tzinfo=UTC))
    assert registry.newest_champion("load_model", date(2026, 11, 8)) == "new"
    assert registry.newest_champion("load_model", date(2026, 11, 7)) == "old"
    assert registry.newest_champion("load_model", date(2026, 10, 31)) is None


def test_of_equal_trainings_the_last_promoted_wins(registry: ModelRegistry):
    champion(registry, "b", date(2026, 11, 1), datetime(2026, 11, 3, 12, tzinfo=UTC))
    champion(registry, "a", date(2026, 11, 1), datetime(2026, 11, 3, 13, tzinfo=UTC))
    assert registry.newest_champion("load_model", date(2026, 11, 8)) == "a"
    registry.promote("load_model", "b", datetime(2026, 11, 4, tzinfo=UTC), {})
    assert registry.newest_champion("load_model", date(2026, 11, 8)) == "b"


def test_a_champion_whose_version_was_removed_is_none_and_the_one_before_it_stands(
    registry: ModelRegistry, tmp_path: Path
):
    champion(registry, "old", date(2026, 11, 1))
    champion(registry, "new", date(2026, 11, 8))
    shutil.rmtree(tmp_path / "models" / "load_model" / "new")
    assert registry.newest_champion("load_model", date(2026, 11, 8)) == "old"


def test_the_newest_of_many_champions_is_found_without_reading_the_others(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
):
    for day in range(1, 29):
        champion(registry, f"of {day}", date(2026, 10, day))
    looked: list[str] = []
    for name in ("find", "exists"):
        original = getattr(ArtifactStore, name)
        monkeypatch.setattr(
            ArtifactStore,
            name,
            lambda store, key, original=original: looked.append(key) or original(store, key),
        )
    assert registry.newest_champion("load_model", date(2026, 10, 20)) == "of 20"
    assert looked == ["models/load_model/of 20/model.json"]


def test_the_newest_is_the_one_trained_last_also_where_it_stood_already(registry: ModelRegistry):
    first, second = RECORD, replace(RECORD, version="4567", training_cutoff=date(2026, 10, 1))
    for record in (first, second):
        registry.save(record, {})
        registry.note_trained(record)
        assert registry.load("load_model", NEWEST) == record
    registry.note_trained(first)
    assert registry.load("load_model", NEWEST) == first
    assert registry.newest_champion("load_model", date(2026, 12, 1)) is None


def test_before_any_training_there_is_no_newest(registry: ModelRegistry):
    with pytest.raises(PermanentFailure, match="no version newest of load_model"):
        registry.load("load_model", NEWEST)
