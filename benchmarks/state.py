"""The state folder shared by the benchmarks at Ruter's size; `benchmarks.season` creates it."""

from __future__ import annotations

import argparse
import os
from datetime import date
from pathlib import Path

from ruter_dagster.config.settings import Settings, load_settings

FIRST_ISSUE_DATE = date(2026, 10, 20)
"""Early enough that later issue dates do not lie in the future, where there are no partitions."""


def parsed_settings(description: str | None) -> Settings:
    """The settings of the state folder that `--state` names."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", type=Path, required=True, help="folder of benchmarks.season")
    return settings_of(parser.parse_args().state)


def settings_of(folder: Path) -> Settings:
    """Settings for this process and its child processes."""
    os.environ |= {
        "RUTER_STATE_DIR": str(folder.absolute()),
        "RUTER_DEMO_SCALE": "ruter",
        "RUTER_HISTORY_START": "2026-01-01",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    return load_settings(_env_file=None)
