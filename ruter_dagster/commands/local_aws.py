"""The double of AWS for `ruter-dagster demo --on sagemaker-double`: a SageMaker, S3 and Glue on this machine, and settings to them.

The double itself (`sagemaker_double/`) is part of the repository, not of the package: it runs each SageMaker job as a process, in the container's contract.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

from pydantic_settings import DotEnvSettingsSource
from rich.console import Console

from ruter_dagster.aws.clients import client
from ruter_dagster.config.sagemaker import SageMakerSettings
from ruter_dagster.config.settings import ENV_FILE_VARIABLE, Settings, env_file, load_settings
from ruter_dagster.contracts.errors import PermanentFailure

CHECKOUT = Path(__file__).parents[2]
BUCKET, REGION = "ruter-dagster-demo", "eu-west-1"
PACE = 0.05
"""The client's intervals against AWS's: a job here starts in a fraction of a second."""
CALLS = "aws-calls.json"
"""What was asked of AWS: calls by operation, by job, and by caller (`demo` Dagster's processes, `container` the jobs)."""
OF_DEPLOYMENTS = ("AWS_", "RUTER_AWS_", "KAFKA_", "RUTER_KAFKA_", "RUTER_SLACK_")
"""Beginnings of variables that lead to a deployment, beside all that SageMaker's settings read."""


@contextmanager
def sagemaker_double(console: Console) -> Iterator[None]:
    """Points this process, and those that it starts, to an empty double of AWS and to a Kafka broker, for the time of the context.

    Settings that lead to a deployment of the user's, in variables or in `.env`, are taken away before any are read. The double
    forgets all when it ends, so the state folder beside it is emptied at the start: Dagster's history would tell of tables
    that are no more. Raises PermanentFailure outside of a checkout.
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
        with console.status("Starting Apache Kafka"):
            stack.enter_context(_broker(state / "broker"))
        console.print(f"SageMaker, S3 and Glue are a double on this machine: {address}")
        yield
        with urlopen(f"{address}/_double/calls", timeout=60) as told:
            (state / CALLS).write_bytes(told.read())


@contextmanager
def _double() -> Iterator[str]:
    """Its address; it ends with this process, however that ends."""
    if not (CHECKOUT / "sagemaker_double").is_dir():
        raise PermanentFailure(
            f"The double of AWS is not installed with the package, and {CHECKOUT} has no sagemaker_double: "
            "run `ruter-dagster demo --on sagemaker-double` in a checkout of the project, after `make install`"
        )
    command = [sys.executable, "-m", "sagemaker_double", "--port", "0", "--owner-on-stdin"]
    process = subprocess.Popen(
        [*command, "--set", f"slots={os.cpu_count() or 2}"],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C is for this command, which then ends the double.
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise PermanentFailure(
                f"The double of AWS did not start (exit code {process.wait()}): what it said is above; "
                "`make install` brings what it needs"
            )
        yield address
    finally:
        process.stdin.close()
        process.terminate()
        process.wait(30)


def _without_deployment() -> dict[str, str | None]:
    """Takes away what leads to a deployment, None each. What else `.env` says comes as variables: the file is read no more,
    neither here nor by a process that is started here."""
    file = env_file()
    written = DotEnvSettingsSource(Settings, file).env_vars if file else {}
    there = {name.upper() for name in os.environ}
    kept = {name.upper(): value for name, value in written.items() if value and name.upper() not in there}
    taken = dict.fromkeys(filter(_leads_to_deployment, (*kept, *os.environ)))
    ours = {name: value for name, value in kept.items() if name.startswith("RUTER_")}
    return ours | taken | {ENV_FILE_VARIABLE: ""}


def _leads_to_deployment(name: str) -> bool:
    of_sagemaker = {f"RUTER_{field.upper()}" for field in SageMakerSettings.model_fields}
    return name.upper().startswith(OF_DEPLOYMENTS) or name.upper() in of_sagemaker


def _variables(address: str, state: Path) -> dict[str, str | None]:
    """What points to the double."""
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
        "RUTER_SAGEMAKER_ROLE": "arn:aws:iam::123456789012:role/jobs",
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
    """Jobs elsewhere find the cluster by its address, not by the folder of its data."""
    from ruter_dagster.publishing.broker import local_broker

    with (
        local_broker(folder) as broker,
        _environment({"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}),
    ):
        yield
