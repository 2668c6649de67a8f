"""A chain with two days of valid data, built once and copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from dagster import Definitions

from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.definitions import build_definitions
from ruter_dagster.orchestration.instance import open_instance
from tests.chain.local_chain import Chain, environment, foreign_variables
from tests.chain.tides_days import DAY, FORMER, LAST, NEW, write_tides
from tests.terraform.conftest import aws_endpoint, certificate_arn, workspace
from tests.terraform.roles import roles

__all__ = ["aws_endpoint", "certificate_arn", "roles", "workspace"]

REPOSITORY = Path(__file__).parents[2]
FORECAST = ("features/levels", "quality/levels", "forecasts/load_forecasts")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The chain after runs of two days, all of which succeeded."""
    root = tmp_path_factory.mktemp("chain")
    write_tides(root / "live" / "counts")
    with pytest.MonkeyPatch.context() as patch:
        _enter(root, patch)
        settings = load_settings(_env_file=None)
        definitions = build_definitions(settings)
        prepared = Prepared(root, settings, definitions)
        with prepared.open() as chain:
            for outcome in (
                chain.run("counts", FORMER, DAY),
                chain.run("plan", FORMER, LAST),
                chain.run("weather", NEW, NEW + timedelta(1)),
                chain.run("forecasting", NEW, assets=FORECAST),
            ):
                assert outcome.succeeded, outcome.message
    (root / "live").rename(root / "kept")
    return prepared


@pytest.fixture
def chain(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """A fresh copy of the prepared chain. Its path is always the same, since tables name their files by it."""
    live = prepared.root / "live"
    shutil.rmtree(live, ignore_errors=True)
    shutil.copytree(prepared.root / "kept", live)
    _enter(prepared.root, monkeypatch)
    with prepared.open() as chain:
        yield chain


@dataclass(frozen=True)
class Prepared:
    """A folder with `live`, which tests change, and `kept`, the original; and definitions of their settings."""

    root: Path
    settings: Settings
    definitions: Definitions

    @contextmanager
    def open(self) -> Iterator[Chain]:
        with open_instance() as instance:
            yield Chain(self.settings, self.definitions, instance, self.root / "live" / "counts")


def _enter(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Sets the variables of the chain for this process and its jobs, and enters the project's folder for `dagster.yaml`."""
    for name in foreign_variables():
        patch.delenv(name)
    for name, value in environment(root / "live").items():
        patch.setenv(name, value)
    patch.chdir(REPOSITORY)
