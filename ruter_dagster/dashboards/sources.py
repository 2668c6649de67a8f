"""What the dashboard shows: a state, its names, and other states to compare it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruter_dagster.dashboards.engine import Engine


@dataclass(frozen=True)
class Sources:
    """The state of the settings and other states.

    `state` is its folder or Glue database, `time_zone` the operator's. `others` has engines by the label of their state.
    `runs` returns the data of the page Runs and cost: it reads Dagster's instance, which this package cannot import.
    """

    engine: Engine
    state: str
    time_zone: str
    others: Mapping[str, Engine] = field(default_factory=dict)
    runs: Callable[[], Any] | None = None
