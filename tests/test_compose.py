"""docker-compose.yml is valid, has no password, and gives the project's containers only variables that something reads.

There is no Docker where tests run. `test_workstation.py` starts the containers' commands as processes.
"""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ruter_dagster.config.settings import Settings
from scripts.reference import variable
from tests.instance_files import variables_of

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docker-compose.yml"
COMPOSE = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DAGSTER = ("code", "web", "daemon")
PROJECT = (*DAGSTER, "mlflow", "reports")
"""Services with the project's own image."""
BOTO3 = {"AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
MLFLOW = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION"}
IMAGES_OWN = re.compile(r"KAFKA_|CLUSTER_ID$|POSTGRES_|MINIO_ROOT_")
INSTANCE = variables_of(ROOT / "docker" / "dagster.yaml")


def test_file_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("service", PROJECT)
def test_each_variable_of_the_project_is_read(service: str) -> None:
    settings = {variable(name) for name in Settings.model_fields}
    assert set(SERVICES[service]["environment"]) <= settings | INSTANCE | BOTO3 | MLFLOW


@pytest.mark.parametrize("service", DAGSTER)
def test_each_variable_of_the_instance_is_set(service: str) -> None:
    assert set(SERVICES[service]["environment"]) >= INSTANCE


@pytest.mark.parametrize("service", sorted(SERVICES.keys() - PROJECT))
def test_other_services_have_variables_of_their_images_only(service: str) -> None:
    assert all(map(IMAGES_OWN.match, SERVICES[service].get("environment", {})))


def test_passwords_come_from_the_env_file_and_its_example_has_none() -> None:
    text = FILE.read_text()
    secrets = {
        name: value
        for service in SERVICES.values()
        for name, value in service.get("environment", {}).items()
        if re.search("PASSWORD|SECRET|TOKEN", name)
    }
    assert secrets
    assert all(re.fullmatch(r"\$\{[A-Z_]+:(\?.+|-)\}", value) for value in secrets.values())
    example = dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text()))
    assert set(re.findall(r"\$\{([A-Z_]+):\?", text)) == set(example)
    assert set(example.values()) == {""}


def test_images_have_a_version() -> None:
    images = {
        service["image"] for service in SERVICES.values() if service["image"] != "ruter-dagster-workstation"
    }
    assert len(images) == 3
    assert all(re.search(r":\S*\d+[.-]\d+", image) and "@" not in image for image in images)


def test_database_has_the_version_of_the_cloud() -> None:
    engine = (ROOT / "terraform/modules/dagster/database.tf").read_text()
    match = re.search(r'engine_version = "(\d+)"', engine)
    assert match and SERVICES["postgres"]["image"].startswith(f"postgres:{match[1]}.")


def test_each_lasting_service_has_a_health_check() -> None:
    assert [name for name, service in SERVICES.items() if "healthcheck" not in service] == ["buckets"]


def test_data_is_in_named_volumes() -> None:
    used = {
        volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())
    }
    assert used == set(COMPOSE["volumes"])


def test_ports_are_open_on_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_webserver_and_daemon_reach_the_code_location() -> None:
    workspace = yaml.safe_load(COMPOSE["configs"]["workspace"]["content"])
    (location,) = workspace["load_from"]
    dockerfile = (ROOT / "docker/orchestrator.Dockerfile").read_text()
    assert location["grpc_server"]["host"] in SERVICES
    assert f'"-p", "{location["grpc_server"]["port"]}"' in dockerfile
    assert f" AS {SERVICES['code']['build']['target']}\n" in dockerfile


def test_jobs_and_reports_read_the_same_state() -> None:
    code, reports = SERVICES["code"], SERVICES["reports"]
    assert reports["environment"].items() <= code["environment"].items()
    assert [f"{volume}:ro" for volume in code["volumes"]] == reports["volumes"]


def test_mlflow_accepts_the_name_by_which_jobs_reach_it() -> None:
    address = SERVICES["code"]["environment"]["RUTER_MLFLOW_TRACKING_URI"].removeprefix("http://")
    (allowed,) = [word for word in SERVICES["mlflow"]["command"] if word.startswith("--allowed-hosts=")]
    assert address in allowed.partition("=")[2].split(",")


def test_kafka_has_a_valid_cluster_id() -> None:
    identifier = SERVICES["kafka"]["environment"]["CLUSTER_ID"]
    assert len(identifier) == 22
    assert len(base64.urlsafe_b64decode(identifier + "==")) == 16


def test_compute_logs_and_files_of_mlflow_have_buckets() -> None:
    (files,) = re.findall(r"--artifacts-destination=s3://(\S+)", " ".join(SERVICES["mlflow"]["command"]))
    for bucket in (SERVICES["code"]["environment"]["DAGSTER_LOGS_BUCKET"], files):
        assert f"store/{bucket}" in SERVICES["buckets"]["command"][0].split()
