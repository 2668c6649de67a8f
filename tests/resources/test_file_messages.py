"""No report of a local job is lost, however long or late it is. An incomplete report is an error."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetExecutionContext,
    PipesTempFileContextInjector,
    asset,
    materialize,
    open_pipes_session,
)

from ruter_dagster.resources.file_messages import FileMessages

CLOSED = json.dumps({"method": "closed", "params": None, "__dagster_pipes_version": "0.1"})
JOB = """
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as pipes:
    pipes.report_asset_materialization(metadata={"picture": "x" * 3_000_000}, data_version="1")
"""


def test_long_report_is_read(tmp_path: Path) -> None:
    @asset
    def loads(context: AssetExecutionContext) -> Iterator[Any]:
        messages = FileMessages(tmp_path / "messages")
        with open_pipes_session(context, PipesTempFileContextInjector(), messages) as session:
            environment = dict(session.get_bootstrap_env_vars())
            subprocess.run([sys.executable, "-c", JOB], env=environment, check=True)
        assert messages.error is None
        yield from session.get_results(implicit_materializations=False)

    (event,) = materialize([loads]).asset_materializations_for_node("loads")
    assert len(str(event.metadata["picture"].value)) == 3_000_000


def test_report_written_in_parts_is_read(tmp_path: Path) -> None:
    messages = FileMessages(tmp_path / "messages")

    @asset
    def loads(context: AssetExecutionContext) -> Iterator[Any]:
        with (
            open_pipes_session(context, PipesTempFileContextInjector(), messages) as session,
            messages.path.open("ab", buffering=0) as file,
        ):
            file.write(CLOSED[:20].encode())
            time.sleep(0.1)  # Dagster's own reader would take the first part as a message now
            file.write(f"{CLOSED[20:]}\n".encode())
        assert messages.error is None
        yield from session.get_results()

    assert materialize([loads]).success


@pytest.mark.parametrize("line", [CLOSED[:20], '{"method": "unheard"}\n', "[]\n"])
def test_unreadable_line_is_reported_with_its_number(tmp_path: Path, line: str) -> None:
    messages = FileMessages(tmp_path / "messages")

    @asset
    def loads(context: AssetExecutionContext) -> Iterator[Any]:
        with (
            open_pipes_session(context, PipesTempFileContextInjector(), messages) as session,
            messages.path.open("a") as file,
        ):
            file.write(f"{CLOSED}\n{line}")
        assert messages.error
        assert messages.error.startswith(f"Line 2 of {messages.path} is not a message (")
        assert line.strip() in messages.error
        yield from session.get_results()

    assert materialize([loads]).success


def test_report_without_closed_message_is_incomplete(tmp_path: Path) -> None:
    messages = FileMessages(tmp_path / "messages")

    @asset
    def loads(context: AssetExecutionContext) -> Iterator[Any]:
        with open_pipes_session(context, PipesTempFileContextInjector(), messages) as session:
            pass
        yield from session.get_results()

    assert materialize([loads]).success
    assert messages.error == f"{messages.path} has no message `closed`"
