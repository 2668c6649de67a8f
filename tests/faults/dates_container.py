"""Stands in the tests' containers for a job of a raw table: reports each date as the real ones do, within a tenth of a second.

`python dates_container.py <script> <job>`; the script is JSON: `seconds` to run, `exits` by date (a code and a reason),
`reads` (a snapshot that it reports to have read). Parameters lie where the container's contract puts them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from dagster_sagemaker_tests.faults.container import BASE, pipes, say


def main() -> int:
    script: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    parameters = _parameters()
    days = parameters["dates"]
    with pipes() as context:
        say(f"dates {days[0]} to {days[-1]}")
        time.sleep(script.get("seconds", 0))
        for day in days:
            if day in script.get("exits", {}):
                code, reason = script["exits"][day]
                _leave(reason)
                return code
        dates = {day: {"rows": 1, "version": f"version of {day}"} for day in days}
        inputs = {
            table: {"snapshot_id": str(number), "dates": {}}
            for table, number in script.get("reads", {}).items()
        }
        context.report_asset_materialization(
            asset_key=parameters["table"].replace(".", "/"),
            data_version="by date",
            metadata={"rows": len(dates), "dates": _json(dates), "inputs": _json(inputs)},
        )
    return 0


def _parameters() -> dict[str, Any]:
    """By hand: to import the contract would take longer than the job."""
    hyperparameters = BASE / "input/config/hyperparameters.json"
    if hyperparameters.is_file():
        return json.loads("".join(json.loads(hyperparameters.read_text()).values()))
    return json.loads((BASE / "processing/input/parameters/parameters.json").read_text())


def _leave(reason: str) -> None:
    for name in ("failure", "message"):
        (BASE / "output").mkdir(exist_ok=True)
        (BASE / "output" / name).write_text(reason)


def _json(value: Any) -> dict[str, Any]:
    return {"raw_value": value, "type": "json"}


if __name__ == "__main__":
    sys.exit(main())
