"""What a person sees of the demo, beside the runs themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from rich.console import Console

from ruter_dagster.demo import Report, _describe_assets, show
from tests.scripted_house import defs, write_script


@pytest.fixture
def report(instance: DagsterInstance) -> Report:
    """Of seventeen checks of the visits one fails, and for one too little is known."""
    write_script(
        instance,
        quality__stop_visits={
            "failed_checks": {"rows_near_usual": {"judged": True}},
            "not_judged": ["stop_points_known"],
        },
    )
    defs.resolve_job_def("counts").execute_in_process(instance=instance, partition_key="2026-03-29")
    report = Report("2026-03-30", "demo")
    _describe_assets(report, defs, instance)
    return report


def test_checks_that_were_not_judged_are_told_apart_from_those_that_passed(report: Report) -> None:
    rows: dict[str, dict[str, Any]] = {row["asset"]: row for row in report.assets}
    visits = rows["quality/stop_visits"]
    assert (visits["checks_passed"], visits["checks_not_judged"], visits["checks"]) == (15, 1, 17)
    console = Console(record=True, width=120)
    show(report, console)
    shown = console.export_text()
    assert "15 of 17, 1 not judged" in shown
    assert "16 of 16 " in shown, "loads, whose checks were all judged"


def test_the_last_line_says_where_to_look_next() -> None:
    told = {}
    for on_double in (None, Path("/state/on-sagemaker-double")):
        console = Console(record=True, width=80)
        show(Report("2026-03-30", "demo"), console, on_double)
        told[on_double is not None] = console.export_text()
    assert "Next: `make dev` opens the lineage" in told[False]
    assert "Next: `RUTER_LAUNCHER=local RUTER_STATE_DIR=/state/on-sagemaker-double make dev`" in told[True]
    assert "with its job at http://127.0.0.1:3000. Tables and files went with the double." in told[True]
    assert "went" not in told[False]
