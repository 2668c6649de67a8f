"""What the dashboard shows: a state, its names, and other states to compare it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ruter_dagster.contracts.scores import CROWDED_PROBABILITY
from ruter_dagster.dashboards.data.quality import VerdictsOf
from ruter_dagster.dashboards.data.runs import RunsOf
from ruter_dagster.dashboards.engine import Engine


@dataclass(frozen=True)
class Sources:
    """The state of the settings and other states.

    `state` is its folder or Glue database, `time_zone` the operator's. `others` has engines by the label of their state.
    `verdicts` reads the verdicts on versions of a table's dates. `runs` reads the runs of Dagster's instance, which this
    package cannot import; None without an instance. `crowded_probability`: P(load > seats) from which a departure is crowded.
    `demo`: the data are those of the demo network, whose dates are fixed.
    `report_page` returns the address of a quality report for browsers, by the address of its file; None if nothing serves it.
    """

    engine: Engine
    state: str
    time_zone: str
    others: Mapping[str, Engine] = field(default_factory=dict)
    verdicts: VerdictsOf | None = None
    runs: RunsOf | None = None
    crowded_probability: float = CROWDED_PROBABILITY
    demo: bool = False
    report_page: Callable[[str], str | None] = lambda report: None
