"""Checks the size of the product code: how long functions are, and how many packages and modules lie at the top level."""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLIENT = "packages/dagster-sagemaker/dagster_sagemaker"
PACKAGES = ("ruter_dagster", CLIENT, "packages/sagemaker-double/sagemaker_double")
MEDIAN_LINES, P90_LINES, TOP_LEVEL_ENTRIES = 10, 25, 20


def function_lengths(folder: Path) -> Iterator[int]:
    """Lines of each function below a folder, signature and docstring included."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (node.end_lineno or node.lineno) - node.lineno + 1


def top_level_entries(package: Path) -> list[str]:
    """Packages and modules directly in a package."""
    modules = [path.stem for path in package.glob("*.py") if path.stem != "__init__"]
    return sorted(modules + [path.parent.name for path in package.glob("*/__init__.py")])


def size_faults(root: Path) -> list[str]:
    """One sentence for each limit that the code exceeds."""
    lengths = [length for package in PACKAGES for length in function_lengths(root / package)]
    measured = (
        ("The median length of functions", statistics.median(lengths), MEDIAN_LINES, "lines"),
        ("The 90th percentile of function lengths", statistics.quantiles(lengths, n=10)[-1], P90_LINES, "lines"),
        ("The top level of ruter_dagster", len(top_level_entries(root / "ruter_dagster")), TOP_LEVEL_ENTRIES, "entries"),
    )  # fmt: skip
    return [
        f"{name} is {value:g} {unit}; the limit is {limit}."
        for name, value, limit, unit in measured
        if value > limit
    ]


if __name__ == "__main__":
    sys.exit("\n".join(size_faults(ROOT)) or None)
