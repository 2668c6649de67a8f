"""Model versions: the files that jobs read, what each was trained on, and which are champions.

People look at models in MLflow (experiments.py); a forecast reads these files and needs no MLflow.
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
_TRAINED_LAST = "trained_last.txt"


@dataclass(frozen=True)
class ModelRecord:
    """A model version, and all that it takes to train it again.

    `training_cutoff` is the last operating date whose counts it has seen. `inputs` are, by table, JSON values that name
    what it was trained on: the snapshot id and the content version of each date. `evaluated_version` is the version that
    was evaluated in place of a refitted one: the same parameters, on dates that end before those that it was judged on.
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
    """A model's version: 16 hexadecimal digits of what it is made from.

    `training` maps each table to the content version of each of its dates (ISO): the same rows give the same version,
    whatever snapshot they are read from.
    """
    made_from = {"training": training, "parameters": parameters, "code_version": code_version}
    return hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()[:16]


class ModelRegistry:
    """Models in the artifact store, below models/<name>/<version>/.

    Marks of champions are files whose names tell all: models/<name>/champions/<training cut-off>/<promoted at>-<version>.json.
    The newest is found by one listing, however many there were. One whose version was removed is none.
    """

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def save(self, record: ModelRecord, files: Mapping[str, bytes]) -> None:
        """Keeps a version's files, its record last: a version without a record was not finished and is not found."""
        for name, content in files.items():
            self._artifacts.put(self._key(record.name, record.version, name), content)
        content = json.dumps(asdict(record), sort_keys=True, indent=2, default=str)
        self._artifacts.put(self._key(record.name, record.version, _RECORD), content.encode())

    def attach(self, record: ModelRecord, name: str, content: bytes) -> None:
        """Adds a file to a version, or replaces one: what was found out about it later."""
        self._artifacts.put(self._key(record.name, record.version, name), content)

    def exists(self, name: str, version: str) -> bool:
        """Whether the version was saved whole: training it again would make the same."""
        return self._artifacts.exists(self._key(name, version, _RECORD))

    def note_trained(self, record: ModelRecord) -> None:
        """Notes that this version was trained last, also where it stood already."""
        self._artifacts.put(f"models/{record.name}/{_TRAINED_LAST}", record.version.encode())

    def load(self, name: str, version: str) -> ModelRecord:
        """The record of a version, or of the one trained last for `newest`; raises PermanentFailure where there is none."""
        if version == NEWEST:
            found = self._artifacts.find(f"models/{name}/{_TRAINED_LAST}")
            version = found.decode() if found else NEWEST
        content = self._artifacts.find(self._key(name, version, _RECORD))
        if content is None:
            raise PermanentFailure(
                f"There is no version {version} of {name} at {self.uri(name, version)}. "
                f"Materialise {LOAD_MODEL}, or name a version that is there."
            )
        values = json.loads(content)
        cutoff = date.fromisoformat(values["training_cutoff"])
        return ModelRecord(**{**values, "training_cutoff": cutoff, "features": tuple(values["features"])})

    def file(self, record: ModelRecord, name: str) -> bytes:
        """One of the version's files; raises ArtifactMissing."""
        return self._artifacts.get(self._key(record.name, record.version, name))

    def files(self, record: ModelRecord) -> dict[str, bytes]:
        """All of the version's own files by name, without its record."""
        folder = self._key(record.name, record.version, "")
        keys = [key for key in self._artifacts.list(folder) if key != f"{folder}{_RECORD}"]
        return {key.removeprefix(folder): content for key, content in self._artifacts.find_all(keys).items()}

    def uri(self, name: str, version: str) -> str:
        """Where the version's files lie."""
        return self._artifacts.uri(self._key(name, version, "").rstrip("/"))

    def promote(self, name: str, version: str, at: datetime, metrics: Mapping[str, float]) -> None:
        """Marks a version as champion, as of `at`, for the `metrics` that it passed the gate with."""
        record = self.load(name, version)
        mark = f"{record.training_cutoff}/{at.astimezone(UTC):%Y%m%dT%H%M%S.%f}-{version}.json"
        content = json.dumps({"metrics": dict(metrics)}, sort_keys=True)
        self._artifacts.put(f"{_champions(name)}{mark}", content.encode())

    def newest_champion(self, name: str, cutoff: date) -> str | None:
        """The champion that had seen no count after `cutoff`: the newest training, of equals the last promoted; or None."""
        marks = [key.removeprefix(_champions(name)) for key in self._artifacts.list(_champions(name))]
        fit = sorted((mark for mark in marks if mark.split("/")[0] <= cutoff.isoformat()), reverse=True)
        versions = (mark.split("-")[-1].removesuffix(".json") for mark in fit)
        return next((version for version in versions if self.exists(name, version)), None)

    def is_champion(self, name: str, version: str) -> bool:
        """Whether the version was ever made champion, and is there."""
        marks = self._artifacts.list(_champions(name))
        return any(mark.endswith(f"-{version}.json") for mark in marks) and self.exists(name, version)

    def _key(self, name: str, version: str, file: str) -> str:
        return f"models/{name}/{version}/{file}"


def _champions(name: str) -> str:
    return f"models/{name}/champions/"
