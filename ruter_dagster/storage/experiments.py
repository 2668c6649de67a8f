"""Records trainings and evaluations in MLflow, where people compare them. Model files for jobs belong in registry.py.

Functions import MLflow when they need it: the import takes seconds, and a forecast does not use MLflow.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ruter_dagster.contracts.certificates import require_named_certificates
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.storage.registry import ModelRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
_VERSION_TAG = "model_version"


class Experiments:
    """Runs and registered models of one MLflow. Repeated calls for a model version change nothing.

    `tracking_uri` is sqlite:///…, the address of a server, or the ARN of MLflow in SageMaker. `artifact_location` is the
    folder or address of files; None leaves the choice to the server. `prefix` comes before the names of experiments and
    registered models, so that environments can share a server.
    """

    def __init__(self, tracking_uri: str, artifact_location: str | None = None, prefix: str = "") -> None:
        self._tracking_uri, self._artifact_location, self._prefix = tracking_uri, artifact_location, prefix

    def record_training(
        self, record: ModelRecord, source: str, files: Mapping[str, bytes] | None = None
    ) -> str | None:
        """Records a training as a run and its version in the model registry. Returns the run's id.

        `source` is the address of the version's files. `files` (plots, importance of features) become artifacts of the run.
        """
        name = self._name(record)
        with self._client() as client:
            run = self._run(client, record)
            _log(client, run, {f"training_{name}": value for name, value in record.metrics.items()}, files)
            _create_if_missing(lambda: client.create_registered_model(name))
            if _registered_number(client, name, record) is None:
                client.create_model_version(
                    name,
                    source,
                    run,
                    tags={_VERSION_TAG: record.version},
                    description=_description(record),
                )
            client.set_terminated(run)
            return run

    def record_evaluation(
        self,
        record: ModelRecord,
        metrics: Mapping[str, float],
        passed: bool,
        files: Mapping[str, bytes] | None = None,
    ) -> str | None:
        """Adds an evaluation and the release gate's verdict to the training's run. Returns the run's id."""
        with self._client() as client:
            run = self._run(client, record)
            _log(client, run, metrics, files)
            client.set_tag(run, "gate", "passed" if passed else "failed")
            client.set_terminated(run)
            return run

    def record_champion(self, record: ModelRecord, source: str) -> None:
        """Sets the registered model's alias `champion` to this version."""
        self.record_training(record, source)
        with self._client() as client:
            number = _registered_number(client, self._name(record), record)
            assert number is not None, f"{record.name} {record.version} was registered just now"
            client.set_registered_model_alias(self._name(record), CHAMPION, number)

    def _name(self, record: ModelRecord) -> str:
        """Name of the experiment and of the registered model."""
        return f"{self._prefix}{record.name}"

    def _run(self, client: MlflowClient, record: ModelRecord) -> str:
        """The id of the model version's run. A version has one run, even if it is trained or evaluated again."""
        name = self._name(record)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            location = f"{self._artifact_location}/{record.name}" if self._artifact_location else None
            _create_if_missing(lambda: client.create_experiment(name, location))
            experiment = client.get_experiment_by_name(name)
        assert experiment is not None, f"the experiment {name} was created just now"
        runs = client.search_runs(
            [experiment.experiment_id], f"tags.{_VERSION_TAG} = '{record.version}'", max_results=1
        )
        if runs:
            return runs[0].info.run_id
        tags = {
            _VERSION_TAG: record.version,
            "training_cutoff": str(record.training_cutoff),
            "code_version": record.code_version,
            **{f"input.{table}": str(value)[:5000] for table, value in record.inputs.items()},
        }
        run = client.create_run(experiment.experiment_id, run_name=record.version, tags=tags).info.run_id
        _log_parameters(client, run, record.parameters)
        return run

    @contextmanager
    def _client(self) -> Iterator[MlflowClient]:
        """A client without telemetry, progress bars and information logs. One process at a time uses a SQLite file."""
        if self._tracking_uri.startswith("arn:") and find_spec("sagemaker_mlflow") is None:
            raise PermanentFailure(
                f"MLflow at {self._tracking_uri} needs the package sagemaker-mlflow, which is not installed. Run "
                "pip install sagemaker-mlflow, or set another RUTER_MLFLOW_TRACKING_URI."
            )
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        if self._tracking_uri.startswith("https:"):
            require_named_certificates(("REQUESTS_CA_BUNDLE",))
        with _locked(self._tracking_uri):
            from mlflow import MlflowClient

            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.WARNING)
            yield MlflowClient(self._tracking_uri, self._tracking_uri)


class NoExperiments(Experiments):
    """Records nothing, for a deployment without MLflow. Metadata of materialisations has the same metrics and plots."""

    def __init__(self) -> None:
        super().__init__("none")

    def record_training(
        self, record: ModelRecord, source: str, files: Mapping[str, bytes] | None = None
    ) -> None:
        return None

    def record_evaluation(
        self,
        record: ModelRecord,
        metrics: Mapping[str, float],
        passed: bool,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        return None

    def record_champion(self, record: ModelRecord, source: str) -> None:
        return None


@contextmanager
def _locked(tracking_uri: str) -> Iterator[None]:
    """Locks a SQLite file, because two processes that create MLflow's tables at once corrupt them. A server needs no lock."""
    if not tracking_uri.startswith("sqlite:///"):
        yield
        return
    from filelock import FileLock

    file = Path(unquote(tracking_uri.removeprefix("sqlite:///").partition("?")[0]))
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        yield


def _create_if_missing(create: Callable[[], Any]) -> None:
    """Calls `create`, and ignores the error that the resource exists already."""
    from mlflow.exceptions import MlflowException

    try:
        create()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _registered_number(client: MlflowClient, name: str, record: ModelRecord) -> str | None:
    """The version's number in MLflow's model registry, or None if it is not registered."""
    versions = client.search_model_versions(f"name = '{name}' and tags.{_VERSION_TAG} = '{record.version}'")
    return str(versions[0].version) if versions else None


def _description(record: ModelRecord) -> str:
    return f"Version {record.version}, trained on operating dates up to {record.training_cutoff}"


def _log(
    client: MlflowClient, run: str, metrics: Mapping[str, float], files: Mapping[str, bytes] | None
) -> None:
    from mlflow.entities import Metric

    # Time 0 and step 0: a metric that is recorded again stays one point of the plot.
    client.log_batch(
        run, metrics=[Metric(name, float(value), 0, 0) for name, value in sorted(metrics.items())]
    )
    if not files:
        return
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(content)
        client.log_artifacts(run, folder)


def _log_parameters(client: MlflowClient, run: str, parameters: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    client.log_batch(run, params=[Param(name, str(value)) for name, value in sorted(parameters.items())])
