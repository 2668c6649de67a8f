"""A model's version depends on its training; a forecast uses the newest champion trained before the issue date."""

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


def test_version_depends_on_rows_parameters_and_code_only():
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


def test_saved_version_is_loaded_with_its_files(registry: ModelRegistry):
    registry.save(RECORD, {"mean.txt": b"trees", "quantiles/p10.txt": b"more trees"})
    assert registry.exists("load_model", "0123")
    assert registry.load("load_model", "0123") == RECORD
    assert registry.files(RECORD) == {"mean.txt": b"trees", "quantiles/p10.txt": b"more trees"}
    assert registry.file(RECORD, "mean.txt") == b"trees"


def test_missing_version_is_named_with_its_address(registry: ModelRegistry):
    with pytest.raises(
        PermanentFailure,
        match=r"Version 42 of load_model does not exist at file:///.*Materialise models/load_model",
    ):
        registry.load("load_model", "42")


def test_version_of_an_interrupted_training_does_not_exist(registry: ModelRegistry, tmp_path: Path):
    class FullStore(ArtifactStore):
        def put(self, key: str, content: bytes) -> None:
            if key.endswith("model.json"):
                raise OSError("disk full")
            super().put(key, content)

    broken = ModelRegistry(FullStore.at(tmp_path))
    with pytest.raises(OSError, match="disk full"):
        broken.save(RECORD, {"mean.txt": b"trees"})
    assert not registry.exists("load_model", "0123")


def test_version_is_a_champion_after_its_promotion(registry: ModelRegistry):
    registry.save(RECORD, {})
    assert registry.newest_champion("load_model", date(2026, 12, 1)) is None
    registry.promote("load_model", "0123", NOON, {"wape": 0.2})
    assert registry.newest_champion("load_model", date(2026, 12, 1)) == "0123"
    assert registry.files(RECORD) == {}


def test_newest_training_up_to_the_cutoff_is_chosen(registry: ModelRegistry):
    champion(registry, "old", date(2026, 11, 1))
    champion(registry, "new", date(2026, 11, 8), promoted_at=datetime(2026, 11, 2, tzinfo=UTC))
    assert registry.newest_champion("load_model", date(2026, 11, 8)) == "new"
    assert registry.newest_champion("load_model", date(2026, 11, 7)) == "old"
    assert registry.newest_champion("load_model", date(2026, 10, 31)) is None


def test_last_promoted_of_equal_trainings_is_chosen(registry: ModelRegistry):
    champion(registry, "b", date(2026, 11, 1), datetime(2026, 11, 3, 12, tzinfo=UTC))
    champion(registry, "a", date(2026, 11, 1), datetime(2026, 11, 3, 13, tzinfo=UTC))
    assert registry.newest_champion("load_model", date(2026, 11, 8)) == "a"
    registry.promote("load_model", "b", datetime(2026, 11, 4, tzinfo=UTC), {})
    assert registry.newest_champion("load_model", date(2026, 11, 8)) == "b"


def test_deleted_champion_is_replaced_by_the_one_before(registry: ModelRegistry, tmp_path: Path):
    champion(registry, "old", date(2026, 11, 1))
    champion(registry, "new", date(2026, 11, 8))
    shutil.rmtree(tmp_path / "models" / "load_model" / "new")
    assert registry.newest_champion("load_model", date(2026, 11, 8)) == "old"


def test_newest_of_many_champions_needs_one_lookup(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch):
    for day in range(1, 29):
        champion(registry, f"of {day}", date(2026, 10, day))
    keys: list[str] = []
    for name in ("find", "exists"):
        original = getattr(ArtifactStore, name)
        monkeypatch.setattr(
            ArtifactStore,
            name,
            lambda store, key, original=original: keys.append(key) or original(store, key),
        )
    assert registry.newest_champion("load_model", date(2026, 10, 20)) == "of 20"
    assert keys == ["models/load_model/of 20/model.json"]


def test_newest_is_the_version_trained_last(registry: ModelRegistry):
    first, second = RECORD, replace(RECORD, version="4567", training_cutoff=date(2026, 10, 1))
    for record in (first, second):
        registry.save(record, {})
        registry.set_newest(record)
        assert registry.load("load_model", NEWEST) == record
    registry.set_newest(first)
    assert registry.load("load_model", NEWEST) == first
    assert registry.newest_champion("load_model", date(2026, 12, 1)) is None


def test_newest_without_a_training_is_an_error(registry: ModelRegistry):
    with pytest.raises(PermanentFailure, match="Version newest of load_model does not exist"):
        registry.load("load_model", NEWEST)
