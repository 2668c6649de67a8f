"""`ruter-dagster sandbox-run`: runs a command in a task of a sandbox's ECS, and shows its log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ruter_dagster.aws.clients import client
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox

CONTAINER = "dagster"
NETWORK_OF = "daemon"
"""The service whose network the task gets: it reaches the database, the code location and AWS."""
POLL_SECONDS = 10.0


def run_in_sandbox(
    sandbox: Sandbox, command: Sequence[str], report: Callable[[str], None], max_minutes: int = 60
) -> int:
    """Runs the command in a task with the sandbox's image, role and variables. Returns its exit code.

    The task's log goes to `report`, line by line, at the end. Raises `PermanentFailure` if the sandbox does not exist, or the
    task does not start or end; it is then stopped.
    """
    ecs = client("ecs")
    arn = _start(ecs, sandbox, command)
    report(f"Task {_id_of(arn)}: {' '.join(command)}")
    try:
        task = _wait_for_end(ecs, sandbox, arn, max_minutes)
    except BaseException:
        ecs.stop_task(cluster=sandbox.name, task=arn, reason="The command that waited for it ended")
        _show_log(sandbox, arn, report)
        raise
    _show_log(sandbox, arn, report)
    (container,) = task["containers"]
    if "exitCode" not in container:
        reason = container.get("reason") or task.get("stoppedReason") or "ECS gives no reason"
        raise PermanentFailure(f"Task {_id_of(arn)} of {sandbox.name} did not start: {reason}")
    return int(container["exitCode"])


def _start(ecs: Any, sandbox: Sandbox, command: Sequence[str]) -> str:
    answer = ecs.run_task(
        cluster=sandbox.name,
        taskDefinition=f"{sandbox.name}-run",
        launchType="FARGATE",
        startedBy="ruter-dagster sandbox-run",
        networkConfiguration=_network(ecs, sandbox),
        overrides={"containerOverrides": [{"name": CONTAINER, "command": list(command)}]},
    )
    if not answer["tasks"]:
        reasons = "; ".join(failure.get("reason", "") for failure in answer["failures"])
        raise PermanentFailure(f"ECS started no task of {sandbox.name}-run: {reasons}. Run this again.")
    return answer["tasks"][0]["taskArn"]


def _network(ecs: Any, sandbox: Sandbox) -> dict[str, Any]:
    try:
        answer = ecs.describe_services(cluster=sandbox.name, services=[NETWORK_OF])
    except ecs.exceptions.ClusterNotFoundException:
        answer = {"services": []}
    active = [service for service in answer["services"] if service["status"] == "ACTIVE"]
    if not active:
        raise PermanentFailure(f"The sandbox {sandbox.id} does not exist. The job sandbox-up creates it.")
    return active[0]["networkConfiguration"]


def _wait_for_end(ecs: Any, sandbox: Sandbox, arn: str, max_minutes: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60 * max_minutes
    while True:
        tasks = ecs.describe_tasks(cluster=sandbox.name, tasks=[arn])["tasks"]
        if tasks and tasks[0]["lastStatus"] == "STOPPED":
            return tasks[0]
        if time.monotonic() > deadline:
            raise PermanentFailure(
                f"Task {_id_of(arn)} of {sandbox.name} has not ended within {max_minutes} minutes. It was stopped."
            )
        time.sleep(POLL_SECONDS)


def _show_log(sandbox: Sandbox, arn: str, report: Callable[[str], None]) -> None:
    """Reports the lines of the task's log, or that it has none."""
    logs = client("logs")
    stream = {
        "logGroupName": f"/rd/{sandbox.name}/dagster/run",
        "logStreamName": f"run/{CONTAINER}/{_id_of(arn)}",
    }
    lines, token = 0, None
    try:
        while True:
            page = logs.get_log_events(
                **stream, startFromHead=True, **({"nextToken": token} if token else {})
            )
            for event in page["events"]:
                report(event["message"])
            lines += len(page["events"])
            if page["nextForwardToken"] == token:
                break
            token = page["nextForwardToken"]
    except logs.exceptions.ResourceNotFoundException:
        pass
    if not lines:
        report(f"The task has no log in {stream['logGroupName']}/{stream['logStreamName']}.")


def _id_of(arn: str) -> str:
    return arn.rpartition("/")[2]
