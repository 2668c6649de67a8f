"""A chain with two good days behind it, made once and laid out afresh for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from dagster import Definitions

from ruter_dagster.definitions import build_definitions
from ruter_dagster.resources.instance import open_instance
from ruter_dagster.resources.local import LocalLauncher
from ruter_dagster.settings import load_settings
from tests.chain.house import Chain, environment, foreign_variables
from tests.chain.tides_days import DAY, FORMER, LAST, NEW, write_tides

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def definitions() -> dict[str, Definitions]:
    """Built once: they depend on settings that every test of the chain shares."""
    return {}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, definitions: dict[str, Definitions]) -> Path:
    """A folder with `live`, where tables name their files by path, and `kept`, the same as it was when all was well."""
    root = tmp_path_factory.mktemp("chain")
    write_tides(root / "live" / "counts")
    with pytest.MonkeyPatch.context() as patch, _chain(root, patch, definitions) as chain:
        for outcome in (
            chain.run("counts", FORMER, DAY),
            chain.run("plan", DAY, LAST),
            chain.run("weather", NEW, NEW + timedelta(1)),
            chain.run("forecasting", NEW, assets=("forecasts/load_forecasts",)),
        ):
            assert outcome.succeeded, outcome.message
    (root / "live").rename(root / "kept")
    return root


@pytest.fixture
def chain(
    prepared: Path, definitions: dict[str, Definitions], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Chain]:
    """The prepared chain, as if no test had touched it."""
    shutil.rmtree(prepared / "live", ignore_errors=True)
    shutil.copytree(prepared / "kept", prepared / "live")
    with _chain(prepared, monkeypatch, definitions) as chain:
        yield chain


@contextmanager
def _chain(root: Path, patch: pytest.MonkeyPatch, definitions: dict[str, Definitions]) -> Iterator[Chain]:
    for name in foreign_variables():
        patch.delenv(name)
    for name, value in environment(root / "live").items():
        patch.setenv(name, value)
    patch.chdir(REPOSITORY)
    settings = load_settings(_env_file=None)
    if not definitions:
        definitions["chain"] = build_definitions(settings, LocalLauncher(settings))
    with open_instance() as instance:
        yield Chain(settings, definitions["chain"], instance, root / "live" / "counts")
