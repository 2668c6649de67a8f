"""Model versions: their files, their training data, and the champions among them.

Jobs read these files and need no MLflow. People compare models in MLflow (experiments.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import LOAD_MODEL, NEWEST
from ruter_dagster.storage.artifacts import ArtifactStore

_RECORD = "model.json"
_NEWEST_FILE = "trained_last.txt"


@dataclass(frozen=True)
class ModelRecord:
    """A model version, with everything that is needed to train it again.

    `training_cutoff` is the last operating date of the training data. `inputs` has by table the snapshot id and the content
    version of each date. `evaluated_version` of a refitted model is the version that was evaluated in its place, with the
    same parameters and an earlier cut-off.
    """

    name: str
    version: str
    training_cutoff: date
    parameters: Mapping[str, Any]
    code_version: str
    inputs: Mapping[str, Any]
    features: tuple[str, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    evaluated_version: str | None = None


def model_version(
    training: Mapping[str, Mapping[str, str]], parameters: Mapping[str, Any], code_version: str
) -> str:
    """A model's version: a hash of its training data, parameters and code version, in 16 hexadecimal digits.

    `training` has by table the content version of each date (ISO). The same rows give the same version in each snapshot.
    """
    hashed = {"training": training, "parameters": parameters, "code_version": code_version}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True, default=str).encode()).hexdigest()[:16]


class ModelRegistry:
    """Models in the artifact store, below models/<name>/<version>/.

    A promotion writes the file models/<name>/champions/<training cut-off>/<promoted at>-<version>.json. Its name has all facts,
    so that one listing finds the newest champion. A champion whose version was deleted is ignored.
    """

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def save(self, record: ModelRecord, files: Mapping[str, bytes]) -> None:
        """Writes a version's files, then its record. A version without a record is incomplete and does not exist."""
        for name, content in files.items():
            self._artifacts.put(self._key(record.name, record.version, name), content)
        content = json.dumps(asdict(record), sort_keys=True, indent=2, default=str)
        self._artifacts.put(self._key(record.name, record.version, _RECORD), content.encode())

    def attach(self, record: ModelRecord, name: str, content: bytes) -> None:
        """Adds a file to a saved version, or replaces one."""
        self._artifacts.put(self._key(record.name, record.version, name), content)

    def exists(self, name: str, version: str) -> bool:
        """Whether the version was saved completely."""
        return self._artifacts.exists(self._key(name, version, _RECORD))

    def set_newest(self, record: ModelRecord) -> None:
        """Makes this version the one that `newest` names, even if it was saved by an earlier training."""
        self._artifacts.put(f"models/{record.name}/{_NEWEST_FILE}", record.version.encode())

    def load(self, name: str, version: str) -> ModelRecord:
        """The record of a version; `newest` names the version that was trained last.

        Raises:
            PermanentFailure: the version does not exist.
        """
        if version == NEWEST:
            newest = self._artifacts.find(f"models/{name}/{_NEWEST_FILE}")
            version = newest.decode() if newest else NEWEST
        content = self._artifacts.find(self._key(name, version, _RECORD))
        if content is None:
            raise PermanentFailure(
                f"Version {version} of {name} does not exist at {self.uri(name, version)}. "
                f"Materialise {LOAD_MODEL}, or name an existing version."
            )
        values = json.loads(content)
        cutoff = date.fromisoformat(values["training_cutoff"])
        return ModelRecord(**{**values, "training_cutoff": cutoff, "features": tuple(values["features"])})

    def file(self, record: ModelRecord, name: str) -> bytes:
        """One of the version's files. Raises `ArtifactMissing`."""
        return self._artifacts.get(self._key(record.name, record.version, name))

    def files(self, record: ModelRecord) -> dict[str, bytes]:
        """All files of the version by name, without its record."""
        folder = self._key(record.name, record.version, "")
        keys = [key for key in self._artifacts.list(folder) if key != f"{folder}{_RECORD}"]
        return {key.removeprefix(folder): content for key, content in self._artifacts.find_all(keys).items()}

    def uri(self, name: str, version: str) -> str:
        """The address of the version's files."""
        return self._artifacts.uri(self._key(name, version, "").rstrip("/"))

    def promote(self, name: str, version: str, at: datetime, metrics: Mapping[str, float]) -> None:
        """Makes a version a champion at the time `at`. `metrics` are the scores with which it passed the release gate."""
        record = self.load(name, version)
        file = f"{record.training_cutoff}/{at.astimezone(UTC):%Y%m%dT%H%M%S.%f}-{version}.json"
        content = json.dumps({"metrics": dict(metrics)}, sort_keys=True)
        self._artifacts.put(f"{_champions(name)}{file}", content.encode())

    def newest_champion(self, name: str, cutoff: date) -> str | None:
        """The champion with the latest training cut-off up to `cutoff`; None if there is none.

        Of champions with the same training cut-off it is the last promoted.
        """
        files = [key.removeprefix(_champions(name)) for key in self._artifacts.list(_champions(name))]
        until_cutoff = [file for file in files if file.split("/")[0] <= cutoff.isoformat()]
        versions = map(_promoted_version, sorted(until_cutoff, reverse=True))
        return next((version for version in versions if self.exists(name, version)), None)

    def champion_files(self, name: str, cutoff: date) -> tuple[set[str], list[str]]:
        """The champion of this cut-off and all with a later one: their versions, and the keys of all their files."""
        oldest = (
            self.load(name, version).training_cutoff
            if (version := self.newest_champion(name, cutoff))
            else cutoff
        )
        prefix = _champions(name)
        promotions = [
            key for key in self._artifacts.list(prefix) if key.removeprefix(prefix) >= oldest.isoformat()
        ]
        versions = {_promoted_version(key) for key in promotions}
        files = [key for version in versions for key in self._artifacts.list(self._key(name, version, ""))]
        return versions, [*promotions, *files]

    def is_champion(self, name: str, version: str) -> bool:
        """Whether the version exists and was a champion at any time."""
        files = self._artifacts.list(_champions(name))
        return any(file.endswith(f"-{version}.json") for file in files) and self.exists(name, version)

    def _key(self, name: str, version: str, file: str) -> str:
        return f"models/{name}/{version}/{file}"


def _champions(name: str) -> str:
    return f"models/{name}/champions/"


def _promoted_version(file: str) -> str:
    """The version that a file of a promotion names."""
    return file.split("-")[-1].removesuffix(".json")
