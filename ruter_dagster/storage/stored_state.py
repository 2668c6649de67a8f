"""What the state really holds: tables' dates, verdicts and models, whatever Dagster's records say was once made.

Cheap enough for every command: of a local table one file of metadata is read, without pyiceberg.
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
from ruter_dagster.storage.versions import versions_of

Versions = dict[date, str]


class PresentState:
    """The state as it is when first asked; `table_versions` gives the content version of each date of a table by its name."""

    def __init__(self, table_versions: Callable[[str], Versions], artifacts: ArtifactStore) -> None:
        self.table_versions = cache(table_versions)
        self._verdicts, self._models = Verdicts(artifacts), ModelRegistry(artifacts)

    @classmethod
    def of(cls, settings: Settings) -> PresentState:
        artifacts = ArtifactStore.at(settings.artifacts_place, settings.aws_region)
        if settings.lake_dir is None:
            catalog = settings.source_dir / "warehouse" / "catalog.db"
            return cls(lambda name: local_versions(catalog, name), artifacts)
        from ruter_dagster.storage.open import open_tables

        return cls(open_tables(settings).versions_by_name, artifacts)

    def lost_dates(self, table: str, recorded: Mapping[date, str]) -> set[date]:
        """Those of the dates whose rows are not those that were recorded, by their content version."""
        present = self.table_versions(table)
        return {day for day, version in recorded.items() if present.get(day) != version}

    def unjudged_dates(self, table: str, dates: set[date]) -> set[date]:
        """Those of the dates whose rows, as they are now, have no verdict; dates without rows need none."""
        versions = {day: version for day, version in self.table_versions(table).items() if day in dates}
        return versions.keys() - self._verdicts.judged(table, versions)

    def has_model(self, version: str) -> bool:
        return self._models.exists(MODEL_NAME, version)

    def has_champion(self, version: str) -> bool:
        return self._models.is_champion(MODEL_NAME, version)


def local_versions(catalog: Path, table: str) -> Versions:
    """The content version of each date of a table in a SQLite catalog; none where catalog, table or its metadata are gone."""
    namespace, name = table.split(".")
    if not catalog.is_file():
        return {}
    try:
        with closing(sqlite3.connect(catalog, timeout=120)) as db:
            found = db.execute(
                "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ? AND table_name = ?",
                (namespace, name),
            ).fetchone()
        location = str(found[0]) if found else ""
        # A table of a former version has an address; pyiceberg takes it as it stands.
        path = location.removeprefix("file://")
        metadata = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    # Whoever writes the table names what is wrong with it, and the remedy.
    except (sqlite3.Error, OSError, ValueError):
        return {}
    return versions_of(metadata.get("properties", {}))
