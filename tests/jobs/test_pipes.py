"""What a job reports reads well in the UI."""

from __future__ import annotations

from pathlib import Path

from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.jobs import Balance
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter, link, table
from ruter_dagster.settings import load_settings

SNAPSHOT = 1849979558053099381
"""A browser would show 1849979558053099300."""


def test_a_local_report_is_shown_as_a_path_because_no_browser_opens_it_from_a_web_page():
    assert link("file:///state/report.html")["type"] == "path"
    assert link("https://bucket.example/report.html")["type"] == "url"


def test_numbers_of_a_table_are_rounded_for_people():
    rows = table([{"mode": "bus", "wape": 0.26273719501112924, "rows": 3}])
    assert rows is not None
    assert rows["raw_value"]["records"] == [{"mode": "bus", "wape": 0.2627, "rows": 3}]


def test_snapshot_ids_of_inputs_and_pins_survive_a_browser(tmp_path: Path):
    parameters = Balance(dates=(), pins={"raw.stop_visits": SNAPSHOT})
    context = JobContext(load_settings(), parameters, Container(tmp_path), Reporter(None))
    context.inputs["raw.stop_visits"] = {"snapshot_id": SNAPSHOT, "dates": {}}
    shown = context.provenance()
    assert shown["inputs"]["raw_value"]["raw.stop_visits"]["snapshot_id"] == str(SNAPSHOT)
    assert shown["parameters"]["raw_value"]["pins"] == {"raw.stop_visits": str(SNAPSHOT)}
