"""The container contract of SageMaker: files of parameters and of failure reasons."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ruter_dagster.contracts.container import (
    BASE_VARIABLE,
    HYPERPARAMETER_LIMIT,
    MESSAGE_LIMIT,
    Container,
    to_hyperparameters,
)
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import (
    JOBS,
    Balance,
    CheckQuality,
    Evaluate,
    Forecast,
    JobParameters,
    Promote,
    Publish,
    Snapshot,
    Train,
)

DAY = date(2026, 11, 20)
PARAMETERS: tuple[JobParameters, ...] = (
    Snapshot(table="raw.stop_visits", dates=(DAY,), of_range=True),
    CheckQuality(table="raw.stop_visits", dates=(DAY,), pins={"raw.stop_visits": 2**62}),
    Balance(dates=(DAY,), pins={"raw.stop_visits": 7}, code_version="3"),
    Train(cutoff=DAY, days=56, held_out=14, parameters={"trees": 200, "learning_rate": 0.05}),
    Evaluate(model_version="3f2a", days=14),
    Promote(model_version="3f2a", promoted_at=datetime(2026, 11, 20, tzinfo=UTC)),
    Forecast(dates=(DAY,), model_version="3f2a"),
    Publish(dates=(DAY,), issued_at="04:30"),
)


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


@pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda parameters: parameters.job)
def test_job_reads_what_its_launcher_wrote(container: Container, parameters: JobParameters) -> None:
    container.write_parameters(parameters)
    assert container.read_parameters(parameters.job) == parameters


def test_training_has_hyperparameters_and_processing_an_input(container: Container) -> None:
    assert [name for name, kind in JOBS.items() if kind.training] == ["train", "refit"]
    container.write_parameters(Train(days=56, held_out=14))
    written = json.loads((container.base / "input/config/hyperparameters.json").read_text())
    assert {type(value) for value in written.values()} == {str}, "SageMaker's hyperparameters are strings"
    assert not (container.base / "processing").exists()

    container.write_parameters(Balance(dates=(DAY,)))
    written = json.loads((container.base / "processing/input/parameters/parameters.json").read_text())
    assert written["dates"] == ["2026-11-20"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "Expecting property name"),
        ("[]", "Input should be an object"),
        ('{"of_range": true}', "dates\n  Field required"),
        ('{"dates": ["20.11.2026"]}', "valid date"),
        ('{"dates": ["2026-11-20"], "colour": 1}', "colour\n  Extra inputs are not permitted"),
    ],
)
def test_wrong_parameters_name_their_file_and_are_not_retried(
    container: Container, content: str | None, message: str
) -> None:
    path = container.processing_parameters
    if content is not None:
        path.parent.mkdir(parents=True)
        path.write_text(content)
    with pytest.raises(PermanentFailure) as failure:
        container.read_parameters("balance")
    assert f"Parameters of job balance at {path} cannot be read" in str(failure.value)
    assert message in str(failure.value)


@pytest.mark.parametrize("content", ["{}", '{"parameters_1": 5}', "5"])
def test_wrong_hyperparameters_name_their_file(container: Container, content: str) -> None:
    container.hyperparameters.parent.mkdir(parents=True)
    container.hyperparameters.write_text(content)
    with pytest.raises(
        PermanentFailure, match=r"Parameters of job train at .*hyperparameters\.json cannot be read"
    ):
        container.read_parameters("train")


def test_unknown_job_lists_the_known_ones(container: Container) -> None:
    with pytest.raises(PermanentFailure, match=r"Unknown job 'balanse'\. Jobs: balance, check_quality"):
        container.read_parameters("balanse")


def test_exit_code_is_the_last_line_of_the_reason(container: Container) -> None:
    assert container.read_failure() is None
    container.write_failure("Trip 1 has no stops.", 65)
    for name in ("failure", "message"):
        assert (container.base / "output" / name).read_text() == "Trip 1 has no stops.\nexit code: 65"
    assert container.read_failure() == "Trip 1 has no stops."


@pytest.mark.parametrize("character", ["x", "æ", "€", "🚌"])
def test_long_reason_is_cut_between_characters(container: Container, character: str) -> None:
    container.write_failure("x" + character * 1000, 137)
    assert container.read_failure() == "x" + character * 1000
    for name in ("failure", "message"):
        message = (container.base / "output" / name).read_bytes()
        assert MESSAGE_LIMIT - 4 < len(message) <= MESSAGE_LIMIT
        reason, _, code = message.decode().partition("\n")
        assert (set(reason), code) == ({"x", character}, "exit code: 137")


def test_reason_with_invalid_characters_is_written(container: Container) -> None:
    container.write_failure("no such file: \udcff.csv", 1)
    assert container.read_failure() == "no such file: ?.csv"


def test_job_may_run_as_processing_or_training(container: Container) -> None:
    balance, train = Balance(dates=(DAY,)), Train(days=56, held_out=14)
    container.hyperparameters.parent.mkdir(parents=True)
    container.hyperparameters.write_text(json.dumps(to_hyperparameters(balance)))
    assert container.read_parameters("balance") == balance

    container.processing_parameters.parent.mkdir(parents=True)
    container.processing_parameters.write_text(train.model_dump_json())
    assert container.read_parameters("train") == train


def test_parameters_of_many_dates_are_split(container: Container) -> None:
    balance = Balance(dates=tuple(DAY + timedelta(number) for number in range(400)))
    pieces = to_hyperparameters(balance)
    assert len(pieces) > 1
    assert max(map(len, pieces.values())) == HYPERPARAMETER_LIMIT
    container.hyperparameters.parent.mkdir(parents=True)
    container.hyperparameters.write_text(json.dumps(pieces))
    assert container.read_parameters("balance") == balance


def test_variable_sets_another_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BASE_VARIABLE, raising=False)
    assert Container.of_environment().base == Path("/opt/ml")
    monkeypatch.setenv(BASE_VARIABLE, "/elsewhere")
    assert Container.of_environment().base == Path("/elsewhere")
