"""Runs a module of the project in a process of its own, so that the code location loads no data library and no Kafka client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.errors import PermanentFailure


def run_module(settings: Settings, module: str, *arguments: str, seconds: float, too_slow: str) -> Any:
    """Runs `python -m module` with the settings, and returns the JSON value that it prints.

    Raises PermanentFailure with the module's own error if it fails, and with `too_slow` if it takes more than `seconds`.
    """
    try:
        process = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **settings.to_environment()},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PermanentFailure(too_slow) from None
    if process.returncode:
        error = process.stderr.strip() or f"{module} ended with exit code {process.returncode}"
        raise PermanentFailure(error)
    return json.loads(process.stdout)
