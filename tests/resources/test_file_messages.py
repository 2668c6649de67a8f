"""No report of a local job is lost: not a long one, not a late one; and one that is cut short is named."""

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


def test_a_report_of_any_length_arrives(tmp_path: Path) -> None:
    @asset
    def loads(context: AssetExecutionContext) -> Iterator[Any]:
        messages = FileMessages(tmp_path / "messages")
        with open_pipes_session(context, PipesTempFileContextInjector(), messages) as session:
            environment = dict(session.get_bootstrap_env_vars())
            subprocess.run([sys.executable, "-c", JOB], env=environment, check=True)
        assert messages.fault is None
        yield from session.get_results(implicit_materializations=False)

    (event,) = materialize([loads]).asset_materializations_for_node("loads")
    assert len(str(event.metadata["picture"].value)) == 3_000_000


def test_a_report_is_read_whole_however_it_reaches_the_file(tmp_path: Path) -> None:
    messages = FileMessages(tmp_path / "messages")

    @asset
    def loads(context: AssetExecutionContext) -> Iterator[Any]:
        with (
            open_pipes_session(context, PipesTempFileContextInjector(), messages) as session,
            messages.path.open("ab", buffering=0) as file,
        ):
            file.write(CLOSED[:20].encode())
            time.sleep(0.1)  # a reader that follows the file has taken the piece for a message by now
            file.write(f"{CLOSED[20:]}\n".encode())
        assert messages.fault is None
        yield from session.get_results()

    assert materialize([loads]).success


@pytest.mark.parametrize("line", [CLOSED[:20], '{"method": "unheard"}\n', "[]\n"])
def test_what_cannot_be_read_is_named_with_its_place(tmp_path: Path, line: str) -> None:
    messages = FileMessages(tmp_path / "messages")

    @asset
    def loads(context: AssetExecutionContext) -> Iterator[Any]:
        with (
            open_pipes_session(context, PipesTempFileContextInjector(), messages) as session,
            messages.path.open("a") as file,
        ):
            file.write(f"{CLOSED}\n{line}")
        assert messages.fault
        assert messages.fault.startswith(f"Line 2 of {messages.path} is no report (")
        assert line.strip() in messages.fault
        yield from session.get_results()

    assert materialize([loads]).success


def test_a_report_without_its_end_is_not_whole(tmp_path: Path) -> None:
    messages = FileMessages(tmp_path / "messages")

    @asset
    def loads(context: AssetExecutionContext) -> Iterator[Any]:
        with open_pipes_session(context, PipesTempFileContextInjector(), messages) as session:
            pass
        yield from session.get_results()

    assert materialize([loads]).success
    assert messages.fault == f"No line of {messages.path} says `closed`"
