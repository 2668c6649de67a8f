"""Writes what Terraform's stack reads from the code: pipelines, Athena's views, columns of the feature group, the dashboard.

`make definitions` runs it. The folder, terraform/stack/rendered unless an argument names another, is replaced. The files
depend on the code alone, not on variables of this process or on the environment that is deployed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "terraform" / "stack" / "rendered"
CODE = ("packages/dagster-sagemaker/dagster_sagemaker", "ruter_dagster")
"""Packages whose code the files follow from. terraform/stack/rendered.tf computes the same hash."""
FEATURE_TYPES = {"int32": "Integral", "int64": "Integral", "boolean": "Integral", "float64": "Fractional"}
"""Type in a feature group by a column's type; String for all others."""


def render(folder: Path) -> None:
    """Replaces the folder with the files. Takes about ten seconds."""
    from ruter_dagster.commands.pipeline_definition import PIPELINES
    from ruter_dagster.commands.pipeline_template import SOURCES, pipeline_template
    from ruter_dagster.dashboards.quicksight import dashboard_definition
    from ruter_dagster.dashboards.views import VIEWS

    texts = {
        f"pipelines/{source}/{name}.json.tftpl": pipeline_template(name, source)
        for source in SOURCES
        for name in PIPELINES
    }
    values = {
        "views": {name: view.to_json() for name, view in VIEWS.items()},
        "features": features(),
        "dashboard": dashboard_definition(),
        "manifest": manifest(),
    }
    texts |= {
        f"{name}.json": json.dumps(value, indent=2, sort_keys=True) + "\n" for name, value in values.items()
    }
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def features() -> dict[str, str]:
    """Type of each column of the feature group, by the column's name in the contract."""
    from ruter_dagster.contracts.features import DEPARTURE_FEATURES

    return {column.name: FEATURE_TYPES.get(column.type, "String") for column in DEPARTURE_FEATURES.columns}


def manifest() -> dict[str, Any]:
    """Hash of the code, names of all jobs, and variables that jobs do not get."""
    from ruter_dagster.config.aws import NOT_FOR_JOBS
    from ruter_dagster.contracts.jobs import JOBS

    return {"code": code_hash(), "jobs": sorted(JOBS), "not_for_jobs": sorted(NOT_FOR_JOBS)}


def code_hash() -> str:
    """SHA-256 of the paths and contents of all Python and TOML files of the packages."""
    files = sorted(
        path.relative_to(ROOT).as_posix()
        for package in CODE
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".toml") and path.is_file()
    )
    lines = [f"{file} {hashlib.sha256((ROOT / file).read_bytes()).hexdigest()}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def main() -> None:
    for name in [name for name in os.environ if name.startswith(("RUTER_", "KAFKA_"))]:
        del os.environ[name]
    # No variable of a file .env either.
    os.environ["RUTER_ENV_FILE"] = ""
    sys.path.insert(0, str(ROOT))
    render(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)


if __name__ == "__main__":
    main()
