"""A job with a lake keeps all state in S3 and the Glue catalog, and none on its own disk."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.jobs import Balance, CheckQuality, JobParameters, Snapshot
from ruter_dagster.contracts.tables import STOP_LOADS, STOP_VISITS
from sagemaker_double.control import Remote
from sagemaker_double.settings import Settings
from tests.jobs.job_process import run

DAY = date(2026, 11, 19)

pytestmark = pytest.mark.extended


@pytest.fixture
def variables(sagemaker_double: Remote, aws: Any) -> dict[str, str]:
    """The environment that a launcher gives to a remote job."""
    aws("s3").create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": Settings.region})
    settings = load_settings(
        _env_file=None, environment="dev", lake="s3://lake/ruter", mlflow_tracking_uri="http://mlflow"
    )
    return settings.to_remote_environment()


def test_each_job_reads_the_output_of_the_one_before(
    variables: dict[str, str], aws: Any, tmp_path: Path
) -> None:
    jobs: list[JobParameters] = [
        Snapshot(table=STOP_VISITS.name, dates=(DAY,)),
        CheckQuality(table=STOP_VISITS.name, dates=(DAY,)),
        Balance(dates=(DAY,)),
    ]
    for number, parameters in enumerate(jobs):
        folder = tmp_path / str(number)
        folder.mkdir()
        code, printed = run(parameters, folder, **variables)
        assert code == 0, printed
        assert not (folder / "state").exists()
    tables = aws("glue").get_tables(DatabaseName="rd_dev_demo")["TableList"]
    assert {table["Name"] for table in tables} == {
        name.replace(".", "_") for name in (STOP_VISITS.name, STOP_LOADS.name)
    }
    keys = {
        each["Key"] for each in aws("s3").list_objects_v2(Bucket="lake", Prefix="ruter/dev/demo/")["Contents"]
    }
    (verdict,) = (key for key in keys if "/artifacts/quality/verdicts/" in key)
    recorded = json.loads(aws("s3").get_object(Bucket="lake", Key=verdict)["Body"].read())
    assert recorded["report"].removeprefix("s3://lake/") in keys


def test_missing_bucket_is_a_permanent_failure(variables: dict[str, str], tmp_path: Path) -> None:
    variables |= {"RUTER_LAKE": "s3://no-such-lake"}
    code, printed = run(Snapshot(table=STOP_VISITS.name, dates=(DAY,)), tmp_path, **variables)
    assert code == 65
    assert "s3://no-such-lake/dev/demo/warehouse" in printed
    assert "it must exist before anything is read or written" in printed
