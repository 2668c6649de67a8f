"""The commands of docs/runbook.md restore a date of a table, deleted files, and a table that was dropped."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.config.settings import load_settings
from ruter_dagster.storage.configured_tables import open_tables
from tests.storage.frames import DAY, VISITS, visits

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"


def commands(snapshot: int | None) -> str:
    """The page's Python, for the small table of these tests."""
    (code,) = re.findall(r"```python\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
    code = code.replace(
        "ruter_dagster.contracts.tables import LOAD_FORECASTS", "tests.storage.frames import VISITS"
    )
    code = re.sub(
        r"(?m)^SNAPSHOT_ID = .*$", f"SNAPSHOT_ID = {snapshot}", code.replace("LOAD_FORECASTS", "VISITS")
    )
    return re.sub(r"(?m)^DATES = .*$", f"DATES = [date({DAY.year}, {DAY.month}, {DAY.day})]", code)


def test_commands_of_the_runbook_restore_rows_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("RUTER_ENV_FILE", "")
    tables = open_tables(load_settings())
    good = tables.write(VISITS, visits(load=12.0), [DAY], code_version="1")
    tables.write(VISITS, visits(load=99.0), [DAY], code_version="2")
    exec(commands(good.snapshot_id), {})
    assert open_tables(load_settings()).versions(VISITS, [DAY]) == good.hashes
    assert tables.read(VISITS, [DAY])["load"].to_list() == [12.0] * 20
    assert not tables.write(VISITS, visits(load=99.0), [DAY], code_version="3").unchanged


LAKE = "rd-prod-lake-123456789012-eu-north-1"
TABLE = "lake/prod/demo/warehouse/rd_prod.db/raw_visits/"


@pytest.fixture
def lake(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The S3 client of an empty, versioned bucket, whose tables the settings name."""
    s3 = aws("s3")
    region = s3.meta.region_name
    s3.create_bucket(Bucket=LAKE, CreateBucketConfiguration={"LocationConstraint": region})
    s3.put_bucket_versioning(Bucket=LAKE, VersioningConfiguration={"Status": "Enabled"})
    for name, value in {
        "ENV_FILE": "",
        "ENVIRONMENT": "prod",
        "LAKE": f"s3://{LAKE}/lake",
        "GLUE_DATABASE": "rd_prod",
        "LAUNCHER": "local",
        "MLFLOW_TRACKING_URI": "http://mlflow.example.org",
    }.items():
        monkeypatch.setenv(f"RUTER_{name}", value)
    monkeypatch.setenv("AWS_REGION", region)
    return s3


@pytest.mark.extended
def test_commands_of_the_runbook_restore_deleted_files_and_a_dropped_table(
    lake: Any, aws: Any, tmp_path: Path
):
    open_tables(load_settings()).write(VISITS, visits(load=12.0), [DAY], code_version="1")
    keys = [item["Key"] for item in lake.list_objects_v2(Bucket=LAKE)["Contents"]]
    metadata = max(key for key in keys if key.endswith(".metadata.json"))
    for key in keys:
        lake.delete_object(Bucket=LAKE, Key=key)
    aws("glue").delete_table(DatabaseName="rd_prod", Name="raw_visits")
    script = "\n".join(re.findall(r"    (?:LAKE=|aws s3api .*LAKE|  jq .*markers).*", RUNBOOK.read_text()))
    script += "\n" + _registration(Path(metadata).name)
    script = re.sub(r"TABLE=\S+", f"TABLE={TABLE}", script).replace(
        ".venv/bin/python", str(Path(".venv/bin/python").absolute())
    )
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, check=True, timeout=120)
    assert open_tables(load_settings()).read(VISITS, [DAY])["load"].to_list() == [12.0] * 20


def _registration(metadata: str) -> str:
    """The page's command that registers a table, for the table of these tests."""
    found = re.search(r"    (\.venv/bin/python -c [^`]*?register_table\([^`]*?\"\n)", RUNBOOK.read_text())
    assert found
    return re.sub(r"[^/]+\.metadata\.json", metadata, found[1]).replace(
        "forecasts_load_forecasts", "raw_visits"
    )
