"""Dagster can open an instance with docker/dagster.yaml. It stores the output of steps on S3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.compute_log_manager import ComputeIOType, ComputeLogManager

from sagemaker_double.control import Remote
from sagemaker_double.settings import Settings

FILE = Path(__file__).parents[2] / "docker/dagster.yaml"
LOCAL_FILE = Path(__file__).parents[2] / "dagster.yaml"
VARIABLES = {
    "DAGSTER_PG_HOST": "127.0.0.1",
    "DAGSTER_PG_DATABASE": "dagster",
    "DAGSTER_PG_USERNAME": "dagster",
    "DAGSTER_PG_PASSWORD": "secret",
    "DAGSTER_LOGS_BUCKET": "logs",
    "DAGSTER_LOGS_PREFIX": "dev",
    "AWS_REGION": Settings.region,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    text = FILE.read_text()
    assert "/tmp/dagster-" in text
    (tmp_path / "dagster.yaml").write_text(text.replace("/tmp/dagster-", f"{tmp_path}/"))
    return tmp_path


def test_dagster_accepts_every_key(home: Path):
    config, custom = dagster_instance_config(str(home), "dagster.yaml")
    assert custom is None
    assert set(config) >= {"storage", "compute_logs", "concurrency", "run_monitoring", "run_retries"}


def test_output_of_steps_goes_to_s3(home: Path, sagemaker_double: Remote, aws: Any):
    s3 = aws("s3")
    s3.create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": Settings.region})
    logs = InstanceRef.from_dir(str(home)).compute_logs_data.rehydrate(as_type=ComputeLogManager)
    key = ["run-1", "compute_logs", "step"]
    with logs.capture_logs(key), logs.open_log_stream(key, ComputeIOType.STDOUT) as out:
        assert out is not None
        out.write("9 dates written\n")
    assert logs.get_log_data(key).stdout == b"9 dates written\n"
    (file,) = s3.list_objects_v2(Bucket="logs")["Contents"]
    assert file["Key"].startswith("dev/")


@pytest.mark.parametrize("part", ["run_retries", "telemetry"])
def test_shared_parts_are_same_as_local_instance(part: str):
    assert yaml.safe_load(FILE.read_text())[part] == yaml.safe_load(LOCAL_FILE.read_text())[part]
