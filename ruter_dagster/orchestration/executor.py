"""How a run's steps get their processes: by Dagster's multiprocess executor, and forked where that spares a start."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from dagster import (
    DagsterEvent,
    Executor,
    InitExecutorContext,
    executor,
    multiple_process_executor_requirements,
)

from ruter_dagster.compat.executor import (
    INSTANCE_MODULES,
    ExecutionPlan,
    ForkingExecutor,
    PlanOrchestrationContext,
    RetryMode,
)

PRELOADED = [
    "ruter_dagster.definitions",
    "sqlalchemy",
    "alembic.config",
    *INSTANCE_MODULES,
]
"""Imported once by the fork server, so that a step starts in a fraction of a second."""
_THREADS = Path("/proc/self/task")


class StepProcesses(ForkingExecutor):
    """A process a step. A run of one step forks its own, which has all imported, and spares the fork server's 1.5 seconds.

    Forking is safe as long as the process has one thread, as that of `dagster asset materialize`. A process of Dagster's
    code server has several. Runs of more steps use the fork server, whose start they share.
    """

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        if len(execution_plan.step_keys_to_execute) == 1 and _has_one_thread():
            self.use_fork()
        yield from super().execute(plan_context, execution_plan)


@executor(name="multiprocess", config_schema={}, requirements=multiple_process_executor_requirements())
def step_processes(_: InitExecutorContext) -> Executor:
    """As many steps at once as there are cores, retried as their assets say."""
    return StepProcesses(
        RetryMode.ENABLED,
        max_concurrent=None,
        start_method="forkserver",
        explicit_forkserver_preload=PRELOADED,
    )


def _has_one_thread() -> bool:
    """Threads of libraries in C count as well; elsewhere than on Linux nobody can say, and forking has faults of its own."""
    if not sys.platform.startswith("linux"):
        return False
    return threading.active_count() == 1 and len(list(_THREADS.iterdir())) == 1
