"""Reads the tables of a TOML file with settings of jobs. `settings.py` validates the settings in them."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruter_dagster.config.settings import ENVIRONMENTS
from ruter_dagster.contracts.jobs import JOBS

SANDBOXES = "sandbox"
"""The name in `[environment.…]` for the sandboxes of all branches."""
JOB_TABLES = ("default", "job")
SECTIONS = (*JOB_TABLES, "environment", "quotas", "prices")


@dataclass(frozen=True)
class Layer:
    """One table of settings. `job` and `environment` are None if the settings apply to all.

    `place`: the name of the table, for error messages.
    """

    place: str
    values: Mapping[str, Any]
    job: str | None = None
    environment: str | None = None

    def is_for(self, job: str, environment: str) -> bool:
        return self.job in (None, job) and self.environment in (None, environment)


@dataclass
class JobsFile:
    """The content of a file: its layers, of which later ones override earlier ones, and the faults of its structure."""

    layers: list[Layer] = field(default_factory=list)
    prices: Mapping[str, Any] = field(default_factory=dict)
    quotas: Mapping[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> JobsFile:
        """Reads a file. If it cannot be read, the result has only that fault."""
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            return cls(faults=[f"  RUTER_SAGEMAKER_JOBS={path}: cannot be read: {error}"])
        file = cls()
        file._require_known(content, SECTIONS, "")
        file._add_layers(content, "", None)
        environments = (*ENVIRONMENTS, SANDBOXES)
        sections = file._table(content, "environment", "", environments)
        for name in filter(environments.__contains__, sections):
            section = file._table(sections, name, "environment.", JOB_TABLES)
            file._add_layers(section, f"environment.{name}.", name)
        file.prices, file.quotas = (file._table(content, name, "") for name in ("prices", "quotas"))
        return file

    def _add_layers(self, section: Mapping[str, Any], prefix: str, environment: str | None) -> None:
        """Adds the layers of a section: the default first, because each job overrides it."""
        default = self._table(section, "default", prefix)
        self.layers.append(Layer(f"[{prefix}default]", default, environment=environment))
        jobs = self._table(section, "job", prefix, JOBS)
        for job in filter(JOBS.__contains__, jobs):
            values = self._table(jobs, job, f"{prefix}job.")
            self.layers.append(Layer(f"[{prefix}job.{job}]", values, job, environment))

    def _table(
        self, section: Mapping[str, Any], name: str, prefix: str, known: Collection[str] | None = None
    ) -> Mapping[str, Any]:
        """The table with this name, empty if there is none. `known`: the names that the table may have."""
        table = section.get(name, {})
        if not isinstance(table, dict):
            self.faults.append(f"  {prefix}{name}={table!r}: it must be a table, [{prefix}{name}]")
            return {}
        if known is not None:
            self._require_known(table, known, f"{prefix}{name}.")
        return table

    def _require_known(self, section: Mapping[str, Any], known: Collection[str], prefix: str) -> None:
        """Adds a fault for each unknown name, so that a misspelt name is not ignored."""
        self.faults += [
            f"  [{prefix}{name}]: unknown table; allowed: {', '.join(sorted(known))}"
            for name in section
            if name not in known
        ]
