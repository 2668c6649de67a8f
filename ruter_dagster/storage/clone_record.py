"""What a state was cloned from, in a file among its artifacts. Imports no pyiceberg: Dagster's own container reads it.

Making the clone belongs in clones.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date

from ruter_dagster.storage.artifacts import ArtifactStore

_KEY = "clone.json"


@dataclass(frozen=True)
class CloneRecord:
    """The source (folder or Glue database), the pinned snapshot of its forecasts, and the dates and models of the tables.

    `models`: by issue date the model version of the original forecasts, None for the baseline. `dates`: by table name the dates
    that the table has.
    """

    source: str
    forecasts: int
    models: Mapping[date, str | None]
    dates: Mapping[str, tuple[date, ...]]

    def save(self, artifacts: ArtifactStore) -> None:
        values = asdict(self) | {
            "models": {str(day): version for day, version in self.models.items()},
            "dates": {table: list(map(str, days)) for table, days in self.dates.items()},
        }
        artifacts.put(_KEY, json.dumps(values, sort_keys=True).encode())

    @classmethod
    def find(cls, artifacts: ArtifactStore) -> CloneRecord | None:
        """The record of this state; None if it is no clone."""
        content = artifacts.find(_KEY)
        if content is None:
            return None
        values = json.loads(content)
        parse = date.fromisoformat
        return cls(
            values["source"],
            values["forecasts"],
            {parse(day): version for day, version in values["models"].items()},
            {table: tuple(map(parse, days)) for table, days in values["dates"].items()},
        )
