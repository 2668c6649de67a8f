"""MLflow shows each model version once, however often it was trained, evaluated or promoted, and by how many processes."""

import logging
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import pytest

from ruter_dagster.storage.experiments import Experiments
from tests.storage.test_registry import RECORD

SOURCE = "s3://bucket/models/load_model/0123"


def experiments_in(folder: Path) -> Experiments:
    return Experiments(f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}", (folder / "files").as_uri())


def record_one(folder: Path, number: int, start) -> None:
    from dataclasses import replace

    start.wait()
    experiments_in(folder).record_training(replace(RECORD, version=f"version{number}"), SOURCE)


@pytest.mark.slow
def test_a_version_is_one_run_with_its_evaluation_and_one_registered_model(tmp_path: Path, capfd):
    experiments = experiments_in(tmp_path)
    for _ in range(2):
        run = experiments.record_training(RECORD, SOURCE, {"importance.csv": b"feature,gain"})
        experiments.record_evaluation(RECORD, {"wape_h1": 0.21}, passed=True)
        experiments.record_champion(RECORD, SOURCE)
    assert capfd.readouterr().err == ""

    from mlflow import MlflowClient

    client = MlflowClient(experiments._tracking_uri, experiments._tracking_uri)
    experiment = client.get_experiment_by_name("load_model")
    assert [found.info.run_id for found in client.search_runs([experiment.experiment_id])] == [run]
    kept = client.get_run(run)
    assert kept.data.metrics == {"training_wape": 0.25, "wape_h1": 0.21}
    assert kept.data.params == {"num_leaves": "63", "objective": "poisson"}
    assert kept.data.tags["training_cutoff"] == str(date(2026, 11, 2))
    assert kept.data.tags["gate"] == "passed"
    assert [file.path for file in client.list_artifacts(run)] == ["importance.csv"]
    champion = client.get_model_version_by_alias("load_model", "champion")
    assert (champion.version, champion.source, champion.tags["model_version"]) == (1, SOURCE, "0123")
    assert len(client.search_model_versions("name = 'load_model'")) == 1


@pytest.mark.slow
def test_two_processes_may_use_a_new_mlflow_at_once(tmp_path: Path):
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
    found = MlflowClient(uri, uri).search_model_versions("name = 'load_model'")
    assert sorted(version.tags["model_version"] for version in found) == ["version0", "version1"]
