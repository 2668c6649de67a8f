"""MLflow has one run and one registered version of each model version, even after repeated or parallel calls."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.commands.dev_servers import MLFLOW_RUNS
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.storage.experiments import Experiments, NoExperiments
from sagemaker_double.control import Remote
from sagemaker_double.settings import Settings
from tests.storage.test_registry import RECORD

SOURCE = "s3://bucket/models/load_model/0123"


def experiments_in(folder: Path) -> Experiments:
    return Experiments(f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}", (folder / "files").as_uri())


def record_one(folder: Path, number: int, start) -> None:
    from dataclasses import replace

    start.wait()
    experiments_in(folder).record_training(replace(RECORD, version=f"version{number}"), SOURCE)


@pytest.mark.extended
def test_version_has_one_run_and_one_registered_model(tmp_path: Path, capfd):
    experiments = experiments_in(tmp_path)
    for _ in range(2):
        run = experiments.record_training(RECORD, SOURCE, {"importance.csv": b"feature,gain"})
        experiments.record_evaluation(RECORD, {"wape_h1": 0.21}, passed=True)
        experiments.record_champion(RECORD, SOURCE)
    assert capfd.readouterr().err == ""

    from mlflow import MlflowClient

    client = MlflowClient(experiments._tracking_uri, experiments._tracking_uri)
    experiment = client.get_experiment_by_name("load_model")
    assert f"#/experiments/{experiment.experiment_id}/runs" == MLFLOW_RUNS
    assert [one.info.run_id for one in client.search_runs([experiment.experiment_id])] == [run]
    recorded = client.get_run(run)
    assert recorded.data.metrics == {"training_wape": 0.25, "wape_h1": 0.21}
    assert recorded.data.params == {"num_leaves": "63", "objective": "poisson"}
    assert recorded.data.tags["training_cutoff"] == str(date(2026, 11, 2))
    assert recorded.data.tags["gate"] == "passed"
    assert [file.path for file in client.list_artifacts(run)] == ["importance.csv"]
    champion = client.get_model_version_by_alias("load_model", "champion")
    assert (champion.version, champion.source, champion.tags["model_version"]) == (1, SOURCE, "0123")
    assert len(client.search_model_versions("name = 'load_model'")) == 1


@pytest.mark.extended
def test_two_processes_use_a_new_mlflow_at_once(tmp_path: Path):
    context = get_context("spawn")
    start = context.Barrier(2)
    processes = [context.Process(target=record_one, args=(tmp_path, number, start)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    versions = MlflowClient(uri, uri).search_model_versions("name = 'load_model'")
    assert sorted(version.tags["model_version"] for version in versions) == ["version0", "version1"]


@pytest.mark.extended
def test_files_of_a_run_are_written_to_a_bucket(tmp_path: Path, sagemaker_double: Remote, aws: Any):
    s3 = aws("s3")
    s3.create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": Settings.region})
    experiments = Experiments(f"sqlite:///{tmp_path / 'mlflow.db'}", "s3://lake/dev/demo/mlflow")
    run = experiments.record_training(RECORD, SOURCE, {"importance.csv": b"feature,gain"})
    (file,) = s3.list_objects_v2(Bucket="lake")["Contents"]
    assert file["Key"] == f"dev/demo/mlflow/load_model/{run}/artifacts/importance.csv"


@pytest.mark.extended
def test_server_records_runs_and_files(tmp_path: Path):
    with mlflow_server(tmp_path) as address:
        run = Experiments(address).record_training(RECORD, SOURCE, {"importance.csv": b"feature,gain"})

        from mlflow import MlflowClient

        client = MlflowClient(address, address)
        assert [file.path for file in client.list_artifacts(run)] == ["importance.csv"]
        assert client.get_model_version("load_model", "1").source == SOURCE


@pytest.mark.extended
def test_environments_that_share_a_server_have_experiments_and_champions_of_their_own(tmp_path: Path):
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for prefix in ("dev-", "s-mybranch-1a2b3c-"):
        Experiments(address, tmp_path.as_uri(), prefix).record_champion(RECORD, f"{SOURCE}/{prefix}")

    from mlflow import MlflowClient

    client = MlflowClient(address, address)
    assert {one.name for one in client.search_experiments()} == {
        "Default", "dev-load_model", "s-mybranch-1a2b3c-load_model",
    }  # fmt: skip
    champion = client.get_model_version_by_alias("dev-load_model", "champion")
    assert champion.source == f"{SOURCE}/dev-"


def test_a_deployment_without_mlflow_records_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Experiments, "_client", lambda _self: pytest.fail("MLflow was used"))
    without = NoExperiments()
    assert without.record_training(RECORD, SOURCE, {"importance.csv": b""}) is None
    without.record_evaluation(RECORD, {"wape_h1": 0.21}, passed=True)
    without.record_champion(RECORD, SOURCE)


def test_mlflow_in_sagemaker_needs_its_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ruter_dagster.storage.experiments.find_spec", lambda name: None)
    arn = "arn:aws:sagemaker:eu-north-1:123456789012:mlflow-tracking-server/ruter-dev"
    with pytest.raises(PermanentFailure, match=f"MLflow at {arn} .* pip install sagemaker-mlflow"):
        Experiments(arn).record_training(RECORD, SOURCE)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    options = [
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder),
    ]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*command, *options], cwd=folder, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not _answers(f"{address}/health"):
            assert process.poll() is None and time.monotonic() < deadline, "MLflow's server does not start"
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        return False
