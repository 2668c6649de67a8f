"""Stops what runs in a sandbox: Dagster's services and tasks, SageMaker's jobs and pipelines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ruter_dagster.aws.clients import client
from ruter_dagster.aws.errors import code_of
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.sandbox import Sandbox

STOP_SECONDS = 600
"""The longest wait for stopping jobs and tasks. A job has two minutes after SIGTERM, then it uploads its output."""
POLL_SECONDS = 5.0
_PER_CALL = 100
_ACTIVE_JOBS = ("InProgress", "Stopping")


def stop_services(sandbox: Sandbox) -> list[str]:
    """Sets the number of tasks of each service to 0: a running daemon would start the next run."""
    ecs = client("ecs")
    stopped = []
    for arn in _arns(ecs, "list_services", "serviceArns", cluster=sandbox.name):
        service = ecs.describe_services(cluster=sandbox.name, services=[arn])["services"][0]
        if service["status"] == "ACTIVE" and service["desiredCount"]:
            ecs.update_service(cluster=sandbox.name, service=arn, desiredCount=0)
            stopped.append(f"service {service['serviceName']}")
    return stopped


def stop_tasks(sandbox: Sandbox) -> list[str]:
    """Stops every task of the cluster, and waits until it has ended. ECS refuses to delete a cluster with tasks."""
    ecs = client("ecs")

    def active() -> list[str]:
        return list(_arns(ecs, "list_tasks", "taskArns", cluster=sandbox.name, desiredStatus="RUNNING"))

    tasks = active()
    for arn in tasks:
        ecs.stop_task(cluster=sandbox.name, task=arn, reason="The sandbox is destroyed")
    _wait_until_none(lambda: active() + _not_stopped(ecs, sandbox, tasks), "task")
    return [f"task {arn.rpartition('/')[2]}" for arn in tasks]


def stop_jobs(sandbox: Sandbox) -> list[str]:
    """Stops the sandbox's Processing and Training jobs, and waits until they have ended: they hold network interfaces."""
    sagemaker = client("sagemaker")
    jobs = list(_active_jobs(sagemaker, sandbox))
    for kind, name, status in jobs:
        if status == "InProgress":
            _stop_unless_ended(sagemaker, kind, name)
    _wait_until_none(lambda: [name for _, name, _ in _active_jobs(sagemaker, sandbox)], "job")
    return [f"{kind.lower()} job {name}" for kind, name, _ in jobs]


def stop_pipelines(sandbox: Sandbox) -> list[str]:
    """Stops executions of the sandbox's pipelines, which people start in Studio."""
    sagemaker = client("sagemaker")
    stopped = []
    pipelines = sagemaker.list_pipelines(PipelineNamePrefix=sandbox.name)["PipelineSummaries"]
    for name in (pipeline["PipelineName"] for pipeline in pipelines):
        for execution in sagemaker.list_pipeline_executions(PipelineName=name)["PipelineExecutionSummaries"]:
            if sandbox.owns(name) and execution["PipelineExecutionStatus"] == "Executing":
                sagemaker.stop_pipeline_execution(PipelineExecutionArn=execution["PipelineExecutionArn"])
                stopped.append(f"execution of the pipeline {name}")
    return stopped


def _arns(ecs: Any, operation: str, key: str, **arguments: Any) -> Iterator[str]:
    """All ARNs of a list of ECS. None if the cluster does not exist."""
    try:
        for page in ecs.get_paginator(operation).paginate(**arguments):
            yield from page[key]
    except ecs.exceptions.ClusterNotFoundException:
        return


def _not_stopped(ecs: Any, sandbox: Sandbox, tasks: list[str]) -> list[str]:
    """Those of the tasks that have not ended. ECS forgets a task an hour after its end."""
    described: list[Any] = []
    for start in range(0, len(tasks), _PER_CALL):
        batch = tasks[start : start + _PER_CALL]
        described += ecs.describe_tasks(cluster=sandbox.name, tasks=batch)["tasks"]
    return [task["taskArn"] for task in described if task["lastStatus"] != "STOPPED"]


def _active_jobs(sagemaker: Any, sandbox: Sandbox) -> Iterator[tuple[str, str, str]]:
    """Kind, name and status of each job that has not ended."""
    for kind in ("Processing", "Training"):
        pages = sagemaker.get_paginator(f"list_{kind.lower()}_jobs")
        for status in _ACTIVE_JOBS:
            for page in pages.paginate(NameContains=sandbox.name, StatusEquals=status):
                for job in page[f"{kind}JobSummaries"]:
                    if sandbox.owns(job[f"{kind}JobName"]):
                        yield kind, job[f"{kind}JobName"], status


def _stop_unless_ended(sagemaker: Any, kind: str, name: str) -> None:
    try:
        getattr(sagemaker, f"stop_{kind.lower()}_job")(**{f"{kind}JobName": name})
    except sagemaker.exceptions.ClientError as error:
        if code_of(error) != "ValidationException":  # it ended by itself in this moment
            raise


def _wait_until_none(remaining: Callable[[], Iterable[str]], kind: str) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while names := sorted(set(remaining())):
        if time.monotonic() > deadline:
            raise PermanentFailure(f"{kind} {', '.join(names)}: not stopped within {STOP_SECONDS} s")
        time.sleep(POLL_SECONDS)
