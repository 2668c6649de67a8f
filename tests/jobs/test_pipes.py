"""Reported metadata is shown correctly in the UI."""

from __future__ import annotations

from pathlib import Path

import pytest

from ruter_dagster.contracts.jobs import Balance
from ruter_dagster.jobs.pipes import link, table
from tests.jobs.demo_jobs import context_of

SNAPSHOT = 1849979558053099381
"""A browser would round it to 1849979558053099300."""


def test_local_report_is_shown_as_a_path():
    assert link("file:///state/report.html")["type"] == "path"
    assert link("https://bucket.example/report.html")["type"] == "url"


def test_report_in_s3_links_to_the_console():
    page = "https://console.aws.amazon.com/s3/object/lake?prefix=dev/demo/quality/2026-11-20.html"
    assert link("s3://lake/dev/demo/quality/2026-11-20.html") == {"raw_value": page, "type": "url"}
    folder = "https://console.aws.amazon.com/s3/buckets/lake?prefix=dev/models/load_model/1a2b/"
    assert link("s3://lake/dev/models/load_model/1a2b")["raw_value"] == folder


def test_report_in_another_store_is_shown_as_its_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    report = "s3://lake/dev/demo/quality/2026-11-20.html"
    assert link(report) == {"raw_value": report, "type": "path"}
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://bucket.vpce-1a2b3c.s3.eu-north-1.vpce.amazonaws.com")
    assert link(report)["type"] == "url"


def test_numbers_of_a_table_are_rounded():
    rows = table([{"mode": "bus", "wape": 0.26273719501112924, "rows": 3}])
    assert rows is not None
    assert rows["raw_value"]["records"] == [{"mode": "bus", "wape": 0.2627, "rows": 3}]


def test_snapshot_ids_are_strings(tmp_path: Path):
    parameters = Balance(dates=(), pins={"raw.stop_visits": SNAPSHOT})
    context = context_of(parameters, tmp_path)
    context.tables.used["raw.stop_visits"] = {"snapshot_id": SNAPSHOT, "dates": {}}
    metadata = context.provenance()
    assert metadata["inputs"]["raw_value"]["raw.stop_visits"]["snapshot_id"] == str(SNAPSHOT)
    assert metadata["parameters"]["raw_value"]["pins"] == {"raw.stop_visits": str(SNAPSHOT)}
