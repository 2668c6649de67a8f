"""The artifact store writes, reads, lists and names files by key."""

from pathlib import Path

import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.storage.artifacts import ArtifactMissing, ArtifactStore


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore.at(tmp_path / "artifacts")


def test_file_is_read_back_and_replaced(artifacts: ArtifactStore):
    artifacts.put("models/load_model/a/model.json", b"one")
    artifacts.put("models/load_model/a/model.json", b"two")
    assert artifacts.get("models/load_model/a/model.json") == b"two"
    assert artifacts.exists("models/load_model/a/model.json")
    assert not artifacts.exists("models/load_model/b/model.json")


def test_files_below_a_prefix_are_listed(artifacts: ArtifactStore):
    for key in ("models/b", "models/a/x", "quality/c"):
        artifacts.put(key, b"")
    assert artifacts.list("models/") == ["models/a/x", "models/b"]
    assert artifacts.list("nothing/") == []


def test_many_existing_files_are_read_at_once(artifacts: ArtifactStore):
    keys = [f"quality/{number}" for number in range(50)]
    for key in keys[:30]:
        artifacts.put(key, key.encode())
    assert artifacts.find_all(keys) == {key: key.encode() for key in keys[:30]}


def test_uri_of_a_local_file_is_its_path(artifacts: ArtifactStore, tmp_path: Path):
    artifacts.put("quality/reports/day.html", b"page")
    uri = artifacts.uri("quality/reports/day.html")
    assert uri == (tmp_path / "artifacts/quality/reports/day.html").as_uri()


def test_missing_file_is_named_with_its_address(artifacts: ArtifactStore):
    with pytest.raises(ArtifactMissing, match=r"The file file:///.*/artifacts/models/nothing does not exist"):
        artifacts.get("models/nothing")


def test_folder_that_cannot_be_created_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PermanentFailure, match="file/artifacts cannot be created: Not a directory"):
        ArtifactStore.at(tmp_path / "file" / "artifacts")
