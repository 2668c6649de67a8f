"""Fixtures of several folders of tests. Each test has its own state, and its own topics on the shared broker.

A test marked `extended` runs in `make test-all` only, every other one in `make test`.
"""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from ruter_dagster.publishing.broker import Broker

# As the launcher of jobs does, before anything loads OpenMP: on shared cores waiting threads would spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shell gives its background commands an ignored SIGINT. Dagster does with SIGTERM what is done with SIGINT, and the processes that
# mirror what a step prints would inherit that, and never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the tests of an expensive fixture in one worker (`--dist loadgroup`), so that the fixture is built once."""
    for item in items:
        if group := _shared_fixture_group(item):
            item.add_marker(pytest.mark.xdist_group(group))


def _shared_fixture_group(item: pytest.Item) -> str | None:
    """The name of the group: `prepared` for the chain that several modules share, else the module with a shared fixture."""
    fixtures = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    if "prepared" in fixtures:
        return "prepared"
    if any(fixture.scope == "module" for definitions in fixtures.values() for fixture in definitions):
        return item.nodeid.partition("::")[0]
    return None


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real Apache Kafka node on a free port, with data of its own, that ends with the tests."""
    from ruter_dagster.publishing.broker import local_broker

    with local_broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test's topics have."""
    return f"test-{uuid.uuid4().hex[:12]}."


@pytest.fixture(scope="session")
def empty_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an instance without any run: copied for each test, since making one takes longer than most tests."""
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef

    folder = tmp_path_factory.mktemp("instance")
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(folder))) as instance:
        instance.get_runs_count()
    return folder


@pytest.fixture
def instance(empty_instance: Path, tmp_path: Path) -> Iterator[DagsterInstance]:
    """A Dagster instance of the test's own, with real storage."""
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef

    folder = shutil.copytree(empty_instance, tmp_path / "instance")
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(folder))) as instance:
        yield instance
