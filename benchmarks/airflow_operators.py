"""Airflow's SageMaker operators for `benchmarks.sagemaker`: an environment of their own, and the script that runs there.

`environment(folder)` makes it with uv: `PINNED` and what they need, none of it in the project's environment. There,
`python -P airflow_operators.py PLAN RESULTS` runs each job's operator in a thread of its own, all intervals the operator's
own (`check_interval=30`):

- default: `operator.execute(context)`, as the task's process does. Seen when it returns.
- deferrable: `execute` until it raises `TaskDeferred`; its trigger is serialised, made again and its `run()` awaited, as the
  triggerer does; its first event goes to the operator's `execute_complete`. Seen when that returns. What Airflow takes on top,
  the scheduler's loop and a new process of the task, is left out, in Airflow's favour.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

PYTHON = "3.11"
PINNED = ("apache-airflow==3.3.2", "apache-airflow-providers-amazon[aiobotocore]==9.39.0")
"""aiobotocore is what the deferrable mode needs."""
TOLD_VERSIONS = ("apache-airflow", "apache-airflow-providers-amazon", "boto3", "aiobotocore")


def environment(folder: Path) -> Path:
    """The Python of an environment with `PINNED`, made in `folder` unless it is there. Needs uv and a package index."""
    python = folder / "bin" / "python"
    if not (folder / "pinned.txt").exists():
        installed = Path(__file__).parents[1] / ".uv/bin/uv"  # by scripts/install
        uv = shutil.which("uv") or str(installed)
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", PYTHON, str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *PINNED], check=True)
        (folder / "pinned.txt").write_text("\n".join(PINNED))
    return python


def variables(home: Path) -> dict[str, str]:
    """Airflow's home, and a connection that leaves everything to boto3's own variables; no database is needed."""
    return {"AIRFLOW_HOME": str(home), "AIRFLOW_CONN_AWS_DEFAULT": "aws://", "NO_COLOR": "1"}


def main(plan: Path, results: Path) -> None:
    works = json.loads(plan.read_text())
    operators = import_module("airflow.providers.amazon.aws.operators.sagemaker")
    begun = time.monotonic()
    with ThreadPoolExecutor(len(works)) as pool:
        ends = list(pool.map(lambda work: performed(work, operators, begun), works))
    told = {name: metadata.version(name) for name in TOLD_VERSIONS}
    results.write_text(json.dumps({"versions": told, "ends": dict(ends)}))


def performed(work: dict[str, Any], operators: Any, begun: float) -> tuple[str, dict[str, Any]]:
    """The job's token; its name, and when the operator was done, in seconds since 1970."""
    from airflow.sdk.exceptions import TaskDeferred  # pyright: ignore[reportMissingImports]

    service, token = work["case"]["service"], work["token"]
    operator = getattr(operators, f"SageMaker{service}Operator")(
        task_id=token, config=work["request"], deferrable=work["case"]["mode"] == "deferrable"
    )
    time.sleep(max(0.0, begun + work["delay"] - time.monotonic()))
    try:
        operator.execute({})
    except TaskDeferred as deferred:
        event = asyncio.run(_first_event(deferred.trigger))
        getattr(operator, deferred.method_name)(context={}, event=event, **(deferred.kwargs or {}))
    return token, {"job": operator.config[f"{service}JobName"], "seen": time.time()}


async def _first_event(trigger: Any) -> Any:
    """As the triggerer: from what the trigger serialises itself to."""
    path, arguments = trigger.serialize()
    module, _, name = path.rpartition(".")
    async for event in getattr(import_module(module), name)(**arguments).run():
        return event.payload
    raise RuntimeError(f"{path} told of nothing")


if __name__ == "__main__":
    os.environ.setdefault("AIRFLOW_HOME", "airflow-home")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
