"""The executor of runs: Dagster's multiprocess executor, which forks the only step of a run.

The goal is the duration of a day, which has many runs of one step.
"""

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
"""Modules that the fork server imports once, so that a step starts in a fraction of a second."""
_THREADS = Path("/proc/self/task")


class StepProcesses(ForkingExecutor):
    """Runs each step in its own process. A run with one step forks that process, which saves the 1.5 s of a fork server.

    Forking is safe only in a process with one thread, such as that of `dagster asset materialize`. Processes of Dagster's
    code server have several. Runs with several steps share one fork server.
    """

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        if len(execution_plan.step_keys_to_execute) == 1 and _has_one_thread():
            self.use_fork()
        yield from super().execute(plan_context, execution_plan)


@executor(name="multiprocess", config_schema={}, requirements=multiple_process_executor_requirements())
def step_processes(_: InitExecutorContext) -> Executor:
    """Runs as many steps in parallel as there are cores, and retries them by the policies of their assets."""
    return StepProcesses(
        RetryMode.ENABLED,
        max_concurrent=None,
        start_method="forkserver",
        explicit_forkserver_preload=PRELOADED,
    )


def _has_one_thread() -> bool:
    """Whether this process has one thread, counting those of C libraries. False on systems other than Linux: unknown there."""
    if not sys.platform.startswith("linux"):
        return False
    return threading.active_count() == 1 and len(list(_THREADS.iterdir())) == 1
