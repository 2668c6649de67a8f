"""Executes a pipeline definition as SageMaker Pipelines does: parameters filled in, each step's job created once those before it are done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sagemaker_double.control import Remote


class StepFailed(Exception):
    """A step's job did not complete; the message is the job's."""


def execute(
    definition: Mapping[str, Any], given: Mapping[str, str], started: str, sagemaker: Any, double: Remote
) -> list[str]:
    """Runs every step, side by side where the order allows; returns the names of its jobs. Raises StepFailed at the first."""
    values = {f"Parameters.{one['Name']}": one["DefaultValue"] for one in definition["Parameters"]}
    values |= {f"Parameters.{name}": value for name, value in given.items()}
    values["Execution.StartDateTime"] = started
    steps = {step["Name"]: step for step in definition["Steps"]}
    running: dict[str, str] = {}
    done: list[str] = []
    while len(done) < len(steps):
        for name, step in steps.items():
            if name not in {*running, *done} and set(step.get("DependsOn", [])) <= set(done):
                running[name] = _create(step, values, sagemaker)
        ended = double.wait(lambda: _ended(running, double), seconds=120, about="a step's end")
        for name, job in ended.items():
            if job["status"] != "Completed":
                raise StepFailed(
                    f"{name}: {job['describe'].get('FailureReason')} {job['describe'].get('ExitMessage')}"
                )
            done.append(name)
            del running[name]
    return [_job_name(name) for name in done]


def _ended(running: Mapping[str, str], double: Remote) -> dict[str, dict[str, Any]]:
    jobs = {job["name"]: job for job in double.jobs()}
    found = {name: jobs[job] for name, job in running.items()}
    return {name: job for name, job in found.items() if job["status"] in ("Completed", "Failed", "Stopped")}


def _create(step: Mapping[str, Any], values: Mapping[str, str], sagemaker: Any) -> str:
    kind, name = step["Type"], _job_name(step["Name"])
    create = getattr(sagemaker, f"create_{kind.lower()}_job")
    create(**{f"{kind}JobName": name}, **_filled(step["Arguments"], values))
    return name


def _job_name(step: str) -> str:
    return f"pipelines-abcdefghijkl-{step}"[:63]


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"Get"}:
            return values[value["Get"]]
        return {name: _filled(inner, values) for name, inner in value.items()}
    return [_filled(inner, values) for inner in value] if isinstance(value, list) else value
