"""Dagster can open an instance with each dagster.yaml of the orchestrator's image: in containers, and on ECS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.compute_log_manager import ComputeIOType, ComputeLogManager

from sagemaker_double.control import Remote
from sagemaker_double.settings import Settings
from tests.instance_files import variables_of

ROOT = Path(__file__).parents[2]
FILES = {"containers": ROOT / "docker/dagster.yaml", "ecs": ROOT / "docker/ecs/dagster.yaml"}
LOCAL_FILE = ROOT / "dagster.yaml"
VARIABLES = {
    "DAGSTER_PG_HOST": "127.0.0.1",
    "DAGSTER_PG_DATABASE": "dagster",
    "DAGSTER_PG_USERNAME": "dagster",
    "DAGSTER_PG_PASSWORD": "secret",
    "DAGSTER_LOGS_BUCKET": "logs",
    "DAGSTER_LOGS_PREFIX": "dev",
    "DAGSTER_RUN_TASK": "rd-dev-run",
    "AWS_REGION": Settings.region,
}


def home_of(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one of the files, which writes into the folder and not into /tmp."""
    for variable_name, value in VARIABLES.items():
        monkeypatch.setenv(variable_name, value)
    text = FILES[name].read_text()
    assert "/tmp/dagster-" in text
    (folder / "dagster.yaml").write_text(text.replace("/tmp/dagster-", f"{folder}/"))
    return folder


@pytest.fixture(params=FILES)
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return home_of(request.param, tmp_path, monkeypatch)


def test_dagster_accepts_every_key(home: Path):
    config, custom = dagster_instance_config(str(home), "dagster.yaml")
    assert custom is None
    assert set(config) >= {
        "storage",
        "compute_logs",
        "run_launcher",
        "concurrency",
        "run_monitoring",
        "run_retries",
    }


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


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
@pytest.mark.parametrize("part", ["run_retries", "telemetry"])
def test_shared_parts_are_same_as_local_instance(part: str, file: Path):
    assert yaml.safe_load(file.read_text())[part] == yaml.safe_load(LOCAL_FILE.read_text())[part]


def test_instances_differ_only_in_how_they_launch_runs():
    containers, ecs = (yaml.safe_load(file.read_text()) for file in FILES.values())
    launchers = containers.pop("run_launcher")["class"], ecs.pop("run_launcher")["class"]
    assert launchers == ("WatchedRunLauncher", "EcsRunLauncher")
    assert containers == ecs


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_comment_names_each_variable(file: Path):
    comment = "".join(line for line in file.read_text().splitlines(True) if line.startswith("#"))
    assert set(re.findall(r"\b(?:DAGSTER_(?!HOME)|AWS_)[A-Z_]+", comment)) == variables_of(file)
