"""Executing a run again in this process. The public API re-executes runs only of jobs that a new process can import.

- `InMemoryJob`, `execute_run`: execute a run of a job that this process holds.
- `create_execution_plan`, `KnownExecutionState`: choose the steps, or those from the failure on.
- `make_new_run_id`: the id is needed before the run's process starts, to follow the run's events.
"""

from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_run
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.utils import make_new_run_id

__all__ = [
    "InMemoryJob",
    "KnownExecutionState",
    "create_execution_plan",
    "execute_run",
    "make_new_run_id",
]
