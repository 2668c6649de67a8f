"""Small jobs and assets that the compat tests execute. Not a test."""

import os
from pathlib import Path

from dagster import (
    AssetCheckResult,
    AssetCheckSpec,
    Config,
    DataVersion,
    MaterializeResult,
    OpExecutionContext,
    StaticPartitionsDefinition,
    asset,
    define_asset_job,
    executor,
    in_process_executor,
    job,
    multiple_process_executor_requirements,
    op,
)

from ruter_dagster.compat.executor import ForkingExecutor, RetryMode

LETTERS = StaticPartitionsDefinition(["a", "b", "c"])


@asset(code_version="7")
def versioned() -> MaterializeResult:
    return MaterializeResult(data_version=DataVersion("first"))


@asset(check_specs=[AssetCheckSpec("never_passes", asset="blocked", blocking=True)])
def blocked() -> MaterializeResult:
    failed = AssetCheckResult(passed=False, check_name="never_passes")
    return MaterializeResult(check_results=[failed])


@asset(partitions_def=LETTERS)
def letters() -> None: ...


class Gate(Config):
    """`open_file`: the second step succeeds once this file exists."""

    open_file: str = ""


@op
def first() -> None: ...


@op
def second(config: Gate) -> None:
    if not Path(config.open_file).exists():
        raise ValueError("the gate is closed")


@job(executor_def=in_process_executor)
def two_steps() -> None:
    first()
    second()


@op
def parent_process(context: OpExecutionContext) -> None:
    context.log.info(f"parent {os.getppid()}")


@executor(name="forking", config_schema={}, requirements=multiple_process_executor_requirements())
def forking_executor(_: object) -> ForkingExecutor:
    forking = ForkingExecutor(RetryMode.DISABLED, max_concurrent=1, start_method="forkserver")
    forking.use_fork()
    return forking


@job(executor_def=forking_executor)
def forked() -> None:
    parent_process()


letters_job = define_asset_job("letters_job", [letters])
