"""The containers of docker-compose.yml work together: their commands as processes, with a real Postgres and a real Kafka.

moto serves S3 instead of MinIO. Commands, variables and health checks are those of the file; only addresses, ports and folders
are changed.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
import yaml
from confluent_kafka import Consumer, Producer
from dagster_graphql import DagsterGraphQLClient
from moto.server import ThreadedMotoServer

from tests.chain.small_demo import D, until
from tests.compose_kafka import compose_kafka
from tests.image_environments import Image, build
from tests.postgres import postgres

pytestmark = pytest.mark.extended

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
STARTED = ("mlflow", "code", "web", "daemon", "reports")
PASSWORD = "only-for-tests"
PLACE = {"repository_location_name": "ruter_dagster", "repository_name": "__repository__"}
ASSETS = [["raw", "planned_departures"], ["quality", "planned_departures"]]


@dataclass
class Workstation:
    """The containers' commands as processes. `hosts` replaces the addresses of other containers."""

    image: Image
    folder: Path
    hosts: dict[str, str]
    ports: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {port: str(_free_port()) for port in ("3000", "3001", "4000", "5000")}
        for name in ("state", "home"):
            (self.folder / name).mkdir()
        (self.folder / "home" / "dagster.yaml").write_text((ROOT / "docker/dagster.yaml").read_text())
        workspace = yaml.safe_load(COMPOSE["configs"]["workspace"]["content"])
        workspace["load_from"][0]["grpc_server"] |= {"host": "127.0.0.1", "port": int(self.ports["4000"])}
        (self.folder / "workspace.yaml").write_text(yaml.safe_dump(workspace))

    def start(self, service: str) -> subprocess.Popen[bytes]:
        words = SERVICES[service].get("command") or self.image.start_command("CMD")
        with (self.folder / f"{service}.log").open("wb") as log:
            return subprocess.Popen(
                self.image.command(*map(self.local, words)),
                env=self.variables(service),
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def is_healthy(self, service: str) -> bool:
        _, *words = SERVICES[service]["healthcheck"]["test"]
        command = self.image.command(*map(self.local, words))
        done = subprocess.run(command, env=self.variables(service), cwd=self.folder, capture_output=True)
        return done.returncode == 0

    def variables(self, service: str) -> dict[str, str]:
        of_file = {
            name: self.local(re.sub(r"\$\{\w+:(\?.*|-)\}", lambda m: PASSWORD if m[1] != "-" else "", value))
            for name, value in SERVICES[service]["environment"].items()
        }
        home = {"DAGSTER_HOME": str(self.folder / "home"), "RUTER_REPORTS_URL": self.address("3001")}
        return self.image.environment(RUTER_BRANCH="main", **home, **of_file)

    def local(self, word: str) -> str:
        """A word of the file with the addresses, ports and folders of this test."""
        word = self.hosts.get(word, word).replace("/opt/dagster", str(self.folder))
        return re.sub(r"(?<![\d.])(3000|3001|4000|5000)\b", lambda match: self.ports[match[1]], word)

    def address(self, port: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}"

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text()[-4000:]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "ruter", "aws_secret_access_key": PASSWORD, "region_name": "eu-north-1"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys)
    for bucket in re.findall(r"store/(\S+)", SERVICES["buckets"]["command"][0]):
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    yield client
    server.stop()


@pytest.fixture(scope="module")
def workstation(tmp_path_factory: pytest.TempPathFactory, s3: Any) -> Iterator[Workstation]:
    """All containers, healthy, in the order of the file's dependencies."""
    folder = tmp_path_factory.mktemp("workstation")
    image = build("orchestrator", tmp_path_factory.mktemp("image"), ROOT / "requirements-jobs.lock")
    with ExitStack() as stack:
        hosts = {
            "postgres": stack.enter_context(postgres("dagster", PASSWORD)),
            "http://minio:9000": s3.meta.endpoint_url,
            "kafka:19092": stack.enter_context(
                compose_kafka(SERVICES["kafka"]["environment"], tmp_path_factory.mktemp("kafka"))
            ),
            "http://mlflow:5000": "http://127.0.0.1:5000",
        }
        made = Workstation(image, folder, hosts)
        for service in STARTED:
            process = made.start(service)
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
            try:
                until(
                    lambda name=service, process=process: process.poll() is not None or made.is_healthy(name),
                    service,
                    180,
                    every=1,
                )
                assert process.poll() is None, f"{service} ended"
            except AssertionError as error:
                raise AssertionError(f"{error}: {made.log(service)}") from error
        yield made


def test_run_of_the_ui_is_in_postgres_and_its_output_in_s3(workstation: Workstation, s3: Any) -> None:
    client = DagsterGraphQLClient("127.0.0.1", port_number=int(workstation.ports["3000"]))
    run_id = client.submit_job_execution(
        "plan", tags={"dagster/partition": str(D)}, asset_selection=ASSETS, **PLACE
    )
    ended = ("SUCCESS", "FAILURE", "CANCELED")
    status = until(lambda: (status := client.get_run_status(run_id).value) in ended and status, "the run")
    assert status == "SUCCESS", workstation.log("code")
    keys = {item["Key"] for item in s3.list_objects_v2(Bucket="dagster-logs")["Contents"]}
    assert any(run_id in key and key.startswith("workstation/") for key in keys)
    files = [path.name for path in (workstation.folder / "home").rglob("*") if path.is_file()]
    assert files == ["dagster.yaml"], "on ECS, the home is read-only"


def test_links_to_quality_reports_lead_to_reports(workstation: Workstation) -> None:
    with urlopen(workstation.address("3001") + "/quality/reports/", timeout=10) as answer:
        assert b"planned_departures" in answer.read()


def test_mlflow_stores_files_in_s3_and_refuses_unknown_hosts(workstation: Workstation, s3: Any) -> None:
    code = (
        "from mlflow import MlflowClient; c = MlflowClient(); "
        "c.log_text(c.create_run(c.create_experiment('x')).info.run_id, 'text', 'file.txt')"
    )
    variables = {"MLFLOW_TRACKING_URI": workstation.variables("code")["RUTER_MLFLOW_TRACKING_URI"]}
    logged = workstation.image.run("python", "-c", code, **variables)
    assert logged.returncode == 0, logged.stderr
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket="mlflow")["Contents"]]
    assert any(key.endswith("file.txt") for key in keys)
    request = Request(workstation.address("5000") + "/api/2.0/mlflow/experiments/search?max_results=1")
    request.add_header("Host", "attacker.example.org")
    with pytest.raises(HTTPError) as refused:
        urlopen(request, timeout=10)
    assert refused.value.code == 403


def test_kafka_commits_transactions(workstation: Workstation) -> None:
    """Publications are transactions. With more replicas than brokers, Kafka would not start any."""
    servers = {"bootstrap.servers": workstation.hosts["kafka:19092"]}
    producer = Producer({**servers, "transactional.id": "test"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce("loads", b"12")
    producer.commit_transaction(30)
    consumer = Consumer(
        {**servers, "group.id": "test", "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
    )
    consumer.subscribe(["loads"])
    message = until(lambda: consumer.poll(1.0), "the message", 60)
    consumer.close()
    assert message.value() == b"12"


def test_state_of_alerts_is_in_postgres(workstation: Workstation) -> None:
    """It is written over, and another process reads it."""
    write = (
        "from dagster import DagsterInstance; from ruter_dagster.sensors.alert_state import *;"
        "[save_state(DagsterInstance.get(), AlertState(failures_read_to=number)) for number in (1, 2)]"
    )
    read = (
        "from dagster import DagsterInstance; from ruter_dagster.sensors.alert_state import *;"
        "print(load_state(DagsterInstance.get(), print).failures_read_to)"
    )
    outputs = [
        workstation.image.run("python", "-c", code, **workstation.variables("code")) for code in (write, read)
    ]
    assert outputs[1].stdout == "2\n", outputs


def test_database_can_be_migrated(workstation: Workstation) -> None:
    def instance(command: str) -> str:
        done = subprocess.run(
            workstation.image.command("dagster", "instance", command),
            env=workstation.variables("code"),
            cwd=workstation.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    instance("migrate")
    revisions = re.findall(r"current: (\w+)\s+latest: (\w+)", instance("info"))
    assert len(revisions) == 3 and all(current == latest for current, latest in revisions)


def test_all_containers_stay_healthy(workstation: Workstation) -> None:
    assert {service: workstation.is_healthy(service) for service in STARTED} == dict.fromkeys(STARTED, True)
