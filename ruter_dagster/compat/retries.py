"""The rule by which Dagster's daemon retries a failed run. The sensor of overdue retries must decide as the daemon does.

- `auto_reexecution_should_retry_run`: the daemon's own decision.
- `RunFailureReason`: the type of its argument, recorded as a tag of the run.
- `BULK_ACTION_TERMINAL_STATUSES`: statuses of a backfill that has ended; the daemon retries no run of such a backfill.
"""

from dagster._core.events import RunFailureReason
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.execution.retries import auto_reexecution_should_retry_run

__all__ = ["BULK_ACTION_TERMINAL_STATUSES", "RunFailureReason", "auto_reexecution_should_retry_run"]
