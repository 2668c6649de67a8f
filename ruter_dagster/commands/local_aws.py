"""The double of AWS of `ruter-dagster demo --on sagemaker-double`: SageMaker, S3 and Glue on this machine, and their settings.

The simulation itself (`sagemaker_double`, the double) is a package of its own, which only developers install. It runs each
SageMaker job as a process, with the files and variables of a container.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

from pydantic_settings import DotEnvSettingsSource
from rich.console import Console

from ruter_dagster.aws.clients import client
from ruter_dagster.config.sagemaker import SageMakerSettings
from ruter_dagster.config.settings import ENV_FILE_VARIABLE, Settings, env_file, load_settings
from ruter_dagster.contracts.container import BASE_VARIABLE
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import JOBS

BUCKET, REGION = "ruter-dagster-demo", "eu-west-1"
PACE = 0.05
"""Factor of the SageMaker client's intervals. A job of the double starts in a fraction of a second."""
CALLS = "aws-calls.json"
"""File with the numbers of AWS calls: by operation, by job, and by caller (`demo`: Dagster's processes; of a job, the job's role)."""
RESOURCES = "aws-resources.json"
"""File with the ARNs of the resources of these calls, by caller and operation."""
ROLES = "arn:aws:iam::123456789012:role/"
SECRET, QUEUE = "rd-local/passwords", "rd-local-jobs"
DEPLOYMENT_PREFIXES = ("AWS_", "RUTER_AWS_", "KAFKA_", "RUTER_KAFKA_", "RUTER_SLACK_")
"""Prefixes of variables that name a deployment. The variables of `SageMakerSettings` do so too."""


@contextmanager
def sagemaker_double(console: Console) -> Iterator[None]:
    """Runs an empty double of AWS and a Kafka broker. This process and its child processes use them within the context.

    Settings of a real deployment, in variables or in `.env`, are removed before settings are read. The double keeps nothing when
    it ends. So the state folder is emptied at the start, because Dagster's history would refer to missing tables. Raises
    PermanentFailure if the double is not installed.
    """
    with ExitStack() as stack:
        stack.enter_context(_environment(_without_deployment()))
        state = load_settings().state_dir.absolute() / "on-sagemaker-double"
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
        with console.status("Starting the double of AWS"):
            address = stack.enter_context(_double())
        stack.enter_context(_environment(_variables(address, state)))
        client("s3", REGION).create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        stack.enter_context(_environment({"RUTER_JOB_EVENTS_QUEUE": _create_queue()}))
        client("secretsmanager", REGION).create_secret(Name=SECRET, SecretString="{}")
        with console.status("Starting Apache Kafka"):
            stack.enter_context(_broker(state / "broker"))
        console.print(f"SageMaker, S3 and Glue are simulated on this machine: {address}")
        yield
        for file, route in ((CALLS, "calls"), (RESOURCES, "resources")):
            with urlopen(f"{address}/_double/{route}", timeout=60) as response:
                (state / file).write_bytes(response.read())


def _create_queue() -> str:
    """URL of the queue to which EventBridge sends the ends of jobs, as in a deployment."""
    sqs, events = client("sqs", REGION), client("events", REGION)
    url = sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=QUEUE, EventPattern=json.dumps({"source": ["aws.sagemaker"]}))
    events.put_targets(Rule=QUEUE, Targets=[{"Id": "queue", "Arn": arn}])
    return url


@contextmanager
def _double() -> Iterator[str]:
    """Address of the double. The double ends with this process, even if the process is killed."""
    if find_spec("sagemaker_double") is None:
        raise PermanentFailure(
            "The double of AWS, the package sagemaker-double, is not installed. `make install` installs it: "
            "run `ruter-dagster demo --on sagemaker-double` in a checkout of the project"
        )
    command = [sys.executable, "-m", "sagemaker_double", "--port", "0", "--owner-on-stdin"]
    process = subprocess.Popen(
        [*command, "--set", f"slots={os.cpu_count() or 2}", "--set", f"base_variable={BASE_VARIABLE}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C must only reach this command, which then ends the double.
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise PermanentFailure(
                f"The double of AWS did not start (exit code {process.wait()}). Its output is above. "
                "`make install` installs its requirements"
            )
        yield address
    finally:
        process.stdin.close()
        process.terminate()
        process.wait(30)


def _without_deployment() -> dict[str, str | None]:
    """Variables without settings of a deployment, which are None. Other settings of `.env` become variables.

    Neither this process nor its child processes read the file after that.
    """
    file = env_file()
    file_variables = DotEnvSettingsSource(Settings, file).env_vars if file else {}
    existing = {name.upper() for name in os.environ}
    kept = {
        name.upper(): value
        for name, value in file_variables.items()
        if value and name.upper() not in existing
    }
    removed = dict.fromkeys(filter(_names_a_deployment, (*kept, *os.environ)))
    settings = {name: value for name, value in kept.items() if name.startswith("RUTER_")}
    return settings | removed | {ENV_FILE_VARIABLE: ""}


def _names_a_deployment(name: str) -> bool:
    sagemaker_variables = {f"RUTER_{field.upper()}" for field in SageMakerSettings.model_fields}
    return name.upper().startswith(DEPLOYMENT_PREFIXES) or name.upper() in sagemaker_variables


def _variables(address: str, state: Path) -> dict[str, str | None]:
    """Variables with the settings of the double."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(state / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(state / "no-credentials"),
        "RUTER_STATE_DIR": str(state),
        "RUTER_LAUNCHER": "sagemaker",
        "RUTER_LAKE": f"s3://{BUCKET}/lake",
        "RUTER_MLFLOW_TRACKING_URI": f"sqlite:///{state / 'mlflow.db'}",
        "RUTER_SAGEMAKER_IMAGE": f"123456789012.dkr.ecr.{REGION}.amazonaws.com/jobs@sha256:{'0' * 64}",
        "RUTER_SAGEMAKER_ROLE": f"{ROLES}jobs",
        "RUTER_SAGEMAKER_ROLES": ",".join(f"{job}={ROLES}{job}" for job in JOBS),
        "RUTER_SECRETS": SECRET,
        "RUTER_SAGEMAKER_PACE": str(PACE),
    }


@contextmanager
def _environment(variables: dict[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _broker(folder: Path) -> Iterator[None]:
    """Runs a broker and sets its address, because SageMaker jobs cannot find it by its folder."""
    from ruter_dagster.publishing.broker import local_broker

    with (
        local_broker(folder) as broker,
        _environment({"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}),
    ):
        yield
