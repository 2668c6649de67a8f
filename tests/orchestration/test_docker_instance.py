"""Dagster can open an instance with each dagster.yaml of the orchestrator's image: in containers, and on ECS."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import RunLauncher
from dagster._core.storage.compute_log_manager import ComputeIOType, ComputeLogManager
from dagster_aws.ecs import EcsRunLauncher
from moto import mock_aws

from ruter_dagster.config.settings import Settings as RuterSettings
from sagemaker_double.control import Remote
from sagemaker_double.settings import Settings
from scripts.reference import variable
from tests.instance_files import variables_of, variables_of_terraform

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


class TestOnEcs:
    @pytest.fixture
    def ecs(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        """ECS with two revisions of the runs' task, and only variables that Terraform sets."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
        regions = variables_of_terraform() & {"AWS_REGION", "AWS_DEFAULT_REGION"}
        for name in regions:
            monkeypatch.setenv(name, Settings.region)
        with mock_aws():
            ecs = boto3.client("ecs", region_name=Settings.region)
            for image in ("old", "new"):
                container = {"name": "dagster", "image": image, "memory": 512}
                ecs.register_task_definition(
                    family=VARIABLES["DAGSTER_RUN_TASK"], containerDefinitions=[container]
                )
            yield ecs

    def test_run_launcher_uses_newest_task_of_terraform(
        self, ecs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        data = InstanceRef.from_dir(str(home_of("ecs", tmp_path, monkeypatch))).run_launcher_data
        assert data is not None
        launcher = data.rehydrate(as_type=RunLauncher)
        assert isinstance(launcher, EcsRunLauncher)
        assert launcher.task_definition.endswith("task-definition/rd-dev-run:2")
        assert launcher.container_name == "dagster"
        assert not launcher.secrets_tags, "the role may list no secrets"

    def test_each_variable_is_set_by_terraform(self):
        assert variables_of(FILES["ecs"]) <= variables_of_terraform()

    def test_image_has_the_file_in_the_home_of_terraform(self):
        terraform = (ROOT / "terraform/modules/dagster/main.tf").read_text()
        match = re.search(r'DAGSTER_HOME\s+= "(.*)"', terraform)
        dockerfile = (ROOT / "docker/orchestrator.Dockerfile").read_text()
        assert match and f"COPY docker/ecs/dagster.yaml {match[1]}/dagster.yaml\n" in dockerfile

    def test_container_of_the_task_has_the_name_of_the_launcher(self):
        terraform = (ROOT / "terraform/modules/dagster/main.tf").read_text()
        launcher = yaml.safe_load(FILES["ecs"].read_text())["run_launcher"]["config"]
        assert re.findall(r'^\s+name\s+= "(\w+)"$', terraform, re.MULTILINE).count(launcher["container_name"])


def test_each_setting_of_terraform_exists():
    """A misspelt variable would be ignored in the containers."""
    settings = {variable(name) for name in RuterSettings.model_fields}
    named = {
        name
        for file in (ROOT / "terraform").rglob("*.tf")
        for name in re.findall(r"\b(?:RUTER|KAFKA)_[A-Z_]*[A-Z]\b", file.read_text())
    }
    assert named and named <= settings
