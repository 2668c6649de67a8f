"""The state that the benchmarks at Ruter's size share: one folder, made by `benchmarks.season`."""

from __future__ import annotations

import argparse
import os
from datetime import date
from pathlib import Path

from ruter_dagster.config.settings import Settings, load_settings

FIRST_ISSUE_DATE = date(2026, 10, 20)
"""Far enough back that no issue date after it is one of the future, which has no partition."""


def parsed_settings(description: str | None) -> Settings:
    """The settings for the folder that the command line names with --state."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", type=Path, required=True, help="folder that benchmarks.season made")
    return settings_of(parser.parse_args().state)


def settings_of(folder: Path) -> Settings:
    """Settings for this process and for those that it starts."""
    os.environ |= {
        "RUTER_STATE_DIR": str(folder.absolute()),
        "RUTER_DEMO_SCALE": "ruter",
        "RUTER_HISTORY_START": "2026-01-01",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    return load_settings(_env_file=None)
