"""The limits on the size of the code: a fault is one sentence with what was measured and the limit."""

from __future__ import annotations

from pathlib import Path

from scripts.check_sizes import PACKAGES, size_faults


def write_package(root: Path, lines: int, modules: int) -> None:
    for name in PACKAGES:
        (root / name).mkdir(parents=True)
    for number in range(modules):
        body = "\n".join(["    pass"] * (lines - 1))
        (root / "ruter_dagster" / f"module_{number}.py").write_text(f"def work():\n{body}\n")


def test_code_within_its_limits_has_no_fault(tmp_path: Path) -> None:
    write_package(tmp_path, lines=10, modules=20)
    assert size_faults(tmp_path) == []


def test_each_exceeded_limit_is_named_with_its_value(tmp_path: Path) -> None:
    write_package(tmp_path, lines=26, modules=21)
    assert size_faults(tmp_path) == [
        "The median length of functions is 26 lines; the limit is 10.",
        "The 90th percentile of function lengths is 26 lines; the limit is 25.",
        "The top level of ruter_dagster is 21 entries; the limit is 20.",
    ]
