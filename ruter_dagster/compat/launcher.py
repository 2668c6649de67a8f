"""Questions of a run launcher to the code server that runs a run. Dagster's own launcher cannot check a run's health.

- `CodeServerRunLauncher`: the default launcher, which can ask whether the code server still has the run's process.
- `CheckRunHealthResult`, `WorkerStatus`: the types in which a launcher reports a run's health.
- `DagsterUserCodeUnreachableError`: the code server gives no answer; `is_timeout` tells a slow server from a lost one.
"""

from __future__ import annotations

from dagster import DefaultRunLauncher, deserialize_value
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult

__all__ = [
    "CheckRunHealthResult",
    "CodeServerRunLauncher",
    "DagsterUserCodeUnreachableError",
    "WorkerStatus",
    "is_timeout",
]


class CodeServerRunLauncher(DefaultRunLauncher):
    """The default run launcher, which can ask a code server about a run."""

    def has_process(self, run_id: str, timeout: int) -> bool | None:
        """Whether the code server has a process of the run; None if no code server started the run.

        Raises:
            DagsterUserCodeUnreachableError: the server gave no answer within `timeout` seconds.
        """
        client = self._get_grpc_client_for_termination(run_id)
        if client is None:
            return None
        request = CanCancelExecutionRequest(run_id=run_id)
        answer = client.can_cancel_execution(request, timeout=timeout)
        return deserialize_value(answer, CanCancelExecutionResult).can_cancel


def is_timeout(error: DagsterUserCodeUnreachableError) -> bool:
    """Whether the code server is only slow. Dagster raises the same error for a server that is gone."""
    import grpc

    cause = error.__cause__
    return isinstance(cause, grpc.RpcError) and cause.code() == grpc.StatusCode.DEADLINE_EXCEEDED  # pyright: ignore[reportAttributeAccessIssue]
