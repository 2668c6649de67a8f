"""Reads a TOML file of jobs' settings: which tables there may be, and whose settings each has. What a setting means belongs in settings.py."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruter_dagster.config.settings import ENVIRONMENTS
from ruter_dagster.contracts.jobs import JOBS

SANDBOXES = "sandbox"
"""Name of all branches' sandboxes in `[environment.…]`."""
OF_JOBS = ("default", "job")
SECTIONS = (*OF_JOBS, "environment", "quotas", "prices")


@dataclass(frozen=True)
class Layer:
    """One table of settings: of one job or, where None is named, of all; in one environment or in all."""

    place: str
    values: Mapping[str, Any]
    job: str | None = None
    environment: str | None = None

    def is_for(self, job: str, environment: str) -> bool:
        return self.job in (None, job) and self.environment in (None, environment)


@dataclass
class JobsFile:
    """What a file says: layers, the more particular the later, and every fault of its form."""

    layers: list[Layer] = field(default_factory=list)
    prices: Mapping[str, Any] = field(default_factory=dict)
    quotas: Mapping[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> JobsFile:
        """A file that cannot be read has nothing but that fault."""
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            return cls(faults=[f"  RUTER_SAGEMAKER_JOBS={path}: cannot be read: {error}"])
        found = cls()
        found._require_known(content, SECTIONS, "")
        found._add_layers(content, "", None)
        environments = (*ENVIRONMENTS, SANDBOXES)
        sections = found._table(content, "environment", "", environments)
        for name in filter(environments.__contains__, sections):
            section = found._table(sections, name, "environment.", OF_JOBS)
            found._add_layers(section, f"environment.{name}.", name)
        found.prices, found.quotas = (found._table(content, name, "") for name in ("prices", "quotas"))
        return found

    def _add_layers(self, section: Mapping[str, Any], prefix: str, environment: str | None) -> None:
        """The default's first: a job's stand over it."""
        default = self._table(section, "default", prefix)
        self.layers.append(Layer(f"[{prefix}default]", default, environment=environment))
        jobs = self._table(section, "job", prefix, JOBS)
        for job in filter(JOBS.__contains__, jobs):
            values = self._table(jobs, job, f"{prefix}job.")
            self.layers.append(Layer(f"[{prefix}job.{job}]", values, job, environment))

    def _table(
        self, section: Mapping[str, Any], name: str, prefix: str, known: Collection[str] | None = None
    ) -> Mapping[str, Any]:
        """The table of this name, empty where there is none. `known` are the names that it may have."""
        found = section.get(name, {})
        if not isinstance(found, dict):
            self.faults.append(f"  {prefix}{name}={found!r}: it must be a table, [{prefix}{name}]")
            return {}
        if known is not None:
            self._require_known(found, known, f"{prefix}{name}.")
        return found

    def _require_known(self, section: Mapping[str, Any], known: Collection[str], prefix: str) -> None:
        """A name that is misspelt would pass unseen."""
        self.faults += [
            f"  [{prefix}{name}]: there is none; there are {', '.join(sorted(known))}"
            for name in section
            if name not in known
        ]
