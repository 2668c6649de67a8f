"""Assets that tell how their steps were started; a code location for test_executor.py."""

import os
import threading
from pathlib import Path
from typing import Any

from dagster import AssetExecutionContext, Definitions, MaterializeResult, RetryRequested, asset

from ruter_dagster.orchestration.executor import step_processes

if os.environ.get("WITH_A_THREAD"):
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def started() -> MaterializeResult[Any]:
    """Who started this process, and how many threads that one has now."""
    parent = os.getppid()
    threads = len(list(Path(f"/proc/{parent}/task").iterdir()))
    return MaterializeResult(metadata={"parent": parent, "threads": threads})


@asset
def one() -> MaterializeResult[Any]:
    return started()


@asset
def another() -> MaterializeResult[Any]:
    return started()


@asset
def at_second_go(context: AssetExecutionContext) -> MaterializeResult[Any]:
    if context.retry_number == 0:
        raise RetryRequested(max_retries=1)
    return started()


@asset
def dying(context: AssetExecutionContext) -> None:
    os._exit(17)


defs = Definitions([one, another, at_second_go, dying], executor=step_processes)
