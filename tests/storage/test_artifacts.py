"""Files are written whole or not at all, and found by their keys."""

from pathlib import Path

import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.storage.artifacts import ArtifactMissing, ArtifactStore


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore.at(tmp_path / "artifacts")


def test_a_file_is_read_back_and_replaced(artifacts: ArtifactStore):
    artifacts.put("models/load_model/a/model.json", b"one")
    artifacts.put("models/load_model/a/model.json", b"two")
    assert artifacts.get("models/load_model/a/model.json") == b"two"
    assert artifacts.exists("models/load_model/a/model.json")
    assert not artifacts.exists("models/load_model/b/model.json")


def test_files_are_listed_below_a_prefix(artifacts: ArtifactStore):
    for key in ("models/b", "models/a/x", "quality/c"):
        artifacts.put(key, b"")
    assert artifacts.list("models/") == ["models/a/x", "models/b"]
    assert artifacts.list("nothing/") == []


def test_many_files_are_read_at_once_and_absent_ones_left_out(artifacts: ArtifactStore):
    keys = [f"quality/{number}" for number in range(50)]
    for key in keys[:30]:
        artifacts.put(key, key.encode())
    assert artifacts.find_all(keys) == {key: key.encode() for key in keys[:30]}


def test_a_place_is_given_as_people_open_it(artifacts: ArtifactStore, tmp_path: Path):
    artifacts.put("quality/reports/day.html", b"page")
    place = artifacts.uri("quality/reports/day.html")
    assert place == (tmp_path / "artifacts/quality/reports/day.html").as_uri()


def test_an_absent_file_is_named_with_its_place(artifacts: ArtifactStore):
    with pytest.raises(ArtifactMissing, match=r"There is no file file:///.*/artifacts/models/nothing"):
        artifacts.get("models/nothing")


def test_a_store_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PermanentFailure, match="file/artifacts cannot be made: Not a directory"):
        ArtifactStore.at(tmp_path / "file" / "artifacts")
