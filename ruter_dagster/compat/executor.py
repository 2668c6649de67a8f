"""Dagster's multiprocess executor as a class. The public name is a definition, whose start method is fixed in configuration.

- `ForkingExecutor`: the executor, which can be switched to `fork` for one run.
- `RetryMode`, `ExecutionPlan`, `PlanOrchestrationContext`: types of its arguments.
- `INSTANCE_MODULES`: modules that every step's process imports to reach the instance.
"""

from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.multiprocess import MultiprocessExecutor

__all__ = ["INSTANCE_MODULES", "ExecutionPlan", "ForkingExecutor", "PlanOrchestrationContext", "RetryMode"]

INSTANCE_MODULES = (
    "dagster._core.storage.event_log",
    "dagster._core.storage.runs",
    "dagster._core.storage.schedules",
    "dagster._core.storage.root",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.launcher.default_run_launcher",
)


class ForkingExecutor(MultiprocessExecutor):
    """The multiprocess executor, whose start method can change after it was made."""

    def use_fork(self) -> None:
        """Fork the processes of the steps that start from now on."""
        self._start_method = "fork"
