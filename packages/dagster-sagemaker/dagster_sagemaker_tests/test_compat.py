"""What the SageMaker client relies on in private names of Dagster."""

import os
import signal
from typing import Any

import pytest
from dagster import (
    AssetExecutionContext,
    DagsterEventType,
    DagsterInstance,
    OpExecutionContext,
    PipesClient,
    asset,
    build_asset_context,
    build_op_context,
    job,
    materialize,
    op,
)

from dagster_sagemaker.compat import (
    ROOT_RUN_ID_TAG,
    BaseDirectExecutionContext,
    EngineEventData,
    TreatAsResourceParam,
    build_external_execution_context_data,
    capture_interrupts,
)
from dagster_sagemaker.runs import StepRun


def test_contexts_of_unit_tests_are_direct() -> None:
    assert isinstance(build_op_context(), BaseDirectExecutionContext)
    assert StepRun(build_asset_context()).direct


def test_context_of_a_run_is_not_direct() -> None:
    direct: list[bool] = []

    @asset
    def stops(context: AssetExecutionContext) -> None:
        direct.append(StepRun(context).direct)

    materialize([stops])
    assert direct == [False]


def test_job_receives_run_asset_and_extras() -> None:
    received: dict[str, Any] = {}

    @asset
    def stops(context: AssetExecutionContext) -> None:
        received.update(build_external_execution_context_data(context, {"line": "31"}))

    run = materialize([stops]).dagster_run
    assert received["run_id"] == run.run_id
    assert received["asset_keys"] == ["stops"]
    assert received["extras"] == {"line": "31"}


def test_clients_are_resources_without_configuration() -> None:
    class Client(PipesClient, TreatAsResourceParam):
        def run(self, *, context: Any, **_: Any) -> Any: ...

    clients: list[Client] = []

    @asset
    def stops(client: Client) -> None:
        clients.append(client)

    client = Client()
    materialize([stops], resources={"client": client})
    assert clients == [client]


def test_engine_event_keeps_metadata_and_step() -> None:
    @op
    def step(context: OpExecutionContext) -> None:
        context.instance.report_engine_event(
            "launched",
            dagster_run=context.dagster_run,
            engine_event_data=EngineEventData(metadata={"job": "one"}),
            step_key="step",
        )

    @job
    def one() -> None:
        step()

    with DagsterInstance.ephemeral() as instance:
        run = one.execute_in_process(instance=instance)
        logs = instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
    (event,) = [
        log.dagster_event for log in logs if log.dagster_event and log.dagster_event.message == "launched"
    ]
    assert event.step_key == "step"
    assert event.engine_event_data.metadata["job"].value == "one"


def test_captured_interrupt_does_not_raise() -> None:
    if os.name == "nt":
        pytest.skip("signals of this kind exist on POSIX only")
    passed = False
    with capture_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        passed = True
    assert passed


def test_root_tag_matches_that_of_stored_runs() -> None:
    assert ROOT_RUN_ID_TAG == "dagster/root_run_id"
