"""The stored tables, verdicts and models, to be compared with Dagster's records of what was materialised.

Every command can afford it: a local table costs one metadata file and no import of pyiceberg.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import date
from functools import cache
from pathlib import Path

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.jobs import MODEL_NAME
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.registry import ModelRegistry
from ruter_dagster.storage.verdicts import Verdicts
from ruter_dagster.storage.version_properties import versions_of

Versions = dict[date, str]


class StoredState:
    """The stored data. Each table is looked up once.

    `table_versions` returns the content version of each date of the table with the given name.
    """

    def __init__(self, table_versions: Callable[[str], Versions], artifacts: ArtifactStore) -> None:
        self.table_versions = cache(table_versions)
        self._verdicts, self._models = Verdicts(artifacts), ModelRegistry(artifacts)

    @classmethod
    def of(cls, settings: Settings) -> StoredState:
        artifacts = ArtifactStore.at(settings.artifacts_location, settings.aws_region)
        if settings.lake_dir is None:
            catalog = settings.source_dir / "warehouse" / "catalog.db"
            return cls(lambda name: local_versions(catalog, name), artifacts)
        from ruter_dagster.storage.configured_tables import open_tables

        return cls(open_tables(settings).versions_by_name, artifacts)

    def lost_dates(self, table: str, recorded: Mapping[date, str]) -> set[date]:
        """The dates whose stored content version differs from the recorded one, or that are not stored."""
        stored = self.table_versions(table)
        return {day for day, version in recorded.items() if stored.get(day) != version}

    def unjudged_dates(self, table: str, dates: set[date]) -> set[date]:
        """The stored dates among `dates` whose present rows have no verdict."""
        versions = {day: version for day, version in self.table_versions(table).items() if day in dates}
        return versions.keys() - self._verdicts.judged_dates(table, versions)

    def has_model(self, version: str) -> bool:
        return self._models.exists(MODEL_NAME, version)

    def has_champion(self, version: str) -> bool:
        return self._models.is_champion(MODEL_NAME, version)


def local_versions(catalog: Path, table: str) -> Versions:
    """The content version of each date of a table in a SQLite catalog; empty if catalog, table or metadata are missing."""
    namespace, name = table.split(".")
    if not catalog.is_file():
        return {}
    try:
        with closing(sqlite3.connect(catalog, timeout=120)) as db:
            row = db.execute(
                "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ? AND table_name = ?",
                (namespace, name),
            ).fetchone()
        location = str(row[0]) if row else ""
        # pyiceberg does not encode the path of a file: address.
        path = location.removeprefix("file://")
        metadata = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    # The next write of the table explains the error.
    except (sqlite3.Error, OSError, ValueError):
        return {}
    return versions_of(metadata.get("properties", {}))
