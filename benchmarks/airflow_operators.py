"""Airflow's SageMaker operators for `benchmarks.sagemaker`: their own environment, and the script that runs in it.

`environment(folder)` creates it with uv from `PINNED`, apart from the project's environment. There,
`python -P airflow_operators.py PLAN RESULTS` runs each job's operator in its own thread with Airflow's default intervals
(`check_interval=30`):

- default: `operator.execute(context)`, as the task's process does. It ends when the call returns.
- deferrable: `execute` until it raises `TaskDeferred`. Its trigger is serialised, restored and its `run()` awaited, as the
  triggerer does; its first event goes to the operator's `execute_complete`, which ends it. The scheduler's loop and the
  task's new process are left out, in Airflow's favour.
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
REPORTED_VERSIONS = ("apache-airflow", "apache-airflow-providers-amazon", "boto3", "aiobotocore")


def environment(folder: Path) -> Path:
    """The Python of an environment with `PINNED`, created in `folder` if missing. Needs uv and a package index."""
    python = folder / "bin" / "python"
    if not (folder / "pinned.txt").exists():
        installed = Path(__file__).parents[1] / ".uv/bin/uv"  # by scripts/install
        uv = shutil.which("uv") or str(installed)
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", PYTHON, str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *PINNED], check=True)
        (folder / "pinned.txt").write_text("\n".join(PINNED))
    return python


def variables(home: Path) -> dict[str, str]:
    """Airflow's home, and a connection that uses boto3's own variables. No database is needed."""
    return {"AIRFLOW_HOME": str(home), "AIRFLOW_CONN_AWS_DEFAULT": "aws://", "NO_COLOR": "1"}


def main(plan: Path, results: Path) -> None:
    works = json.loads(plan.read_text())
    operators = import_module("airflow.providers.amazon.aws.operators.sagemaker")
    begun = time.monotonic()
    with ThreadPoolExecutor(len(works)) as pool:
        ends = list(pool.map(lambda work: run_operator(work, operators, begun), works))
    versions = {name: metadata.version(name) for name in REPORTED_VERSIONS}
    results.write_text(json.dumps({"versions": versions, "ends": dict(ends)}))


def run_operator(work: dict[str, Any], operators: Any, begun: float) -> tuple[str, dict[str, Any]]:
    """The job's token, its name, and when the operator ended, in seconds since 1970."""
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
    """The trigger's first event. The trigger is restored from its serialised form, as the triggerer does."""
    path, arguments = trigger.serialize()
    module, _, name = path.rpartition(".")
    async for event in getattr(import_module(module), name)(**arguments).run():
        return event.payload
    raise RuntimeError(f"the trigger {path} ended without an event")


if __name__ == "__main__":
    os.environ.setdefault("AIRFLOW_HOME", "airflow-home")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
