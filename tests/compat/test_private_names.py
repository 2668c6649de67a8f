"""Only the compat modules use private names of Dagster and pyiceberg."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(
    r"dagster(_\w+)?(\.\w+)*\._"  # a private module or name, also in text that names a module
    r"|pyiceberg(\.\w+)*\._"
    r"|pyiceberg\.io\.pyarrow\.(?!PyArrowFileIO)"
    r"|pyiceberg\.table\.(WriteTask|Transaction)\b"
)
CLIENT = "packages/dagster-sagemaker/dagster_sagemaker"
ALLOWED = ("ruter_dagster/compat/", f"{CLIENT}/compat.py")


def names_in(source: str) -> list[str]:
    """The names that a module imports, and its texts."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.append(node.value)
    return names


def private_names(source: str) -> list[str]:
    return [name for name in names_in(source) if PRIVATE.match(name)]


@pytest.mark.parametrize(
    "source",
    [
        "from dagster._core.storage.tags import ROOT_RUN_ID_TAG",
        "from dagster import _check",
        "import dagster._time",
        "MODULES = ['dagster._core.storage.runs']",
        "from pyiceberg.io.pyarrow import write_file",
        "from pyiceberg.table import Table, WriteTask",
    ],
)
def test_private_names_are_recognised(source: str) -> None:
    assert private_names(source)


@pytest.mark.parametrize(
    "source", ["from dagster import asset", "from pyiceberg.table import Table, TableProperties"]
)
def test_public_names_are_accepted(source: str) -> None:
    assert private_names(source) == []


@pytest.mark.parametrize("package", ["ruter_dagster", CLIENT])
def test_only_compat_uses_private_names(package: str) -> None:
    files = [file.relative_to(ROOT) for file in (ROOT / package).rglob("*.py")]
    uses = {
        str(file): names
        for file in files
        if not file.as_posix().startswith(ALLOWED) and (names := private_names((ROOT / file).read_text()))
    }
    assert uses == {}, "Import these names from ruter_dagster.compat or dagster_sagemaker.compat"
