"""Declared checks have unique names and bounds, and load without heavy libraries."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from ruter_dagster.contracts.checks import CHECKED_TABLES, CHECKS
from ruter_dagster.contracts.tables import Table

EACH_TABLE = pytest.mark.parametrize("table", CHECKED_TABLES, ids=lambda table: table.name)


@EACH_TABLE
def test_checks_have_unique_names_bounds_and_descriptions(table: Table) -> None:
    checks = CHECKS[table.name]
    names = [check.name for check in checks]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in names)
    assert all(check.table == table.name and check.description and check.unit for check in checks)
    assert all(check.minimum is not None or check.maximum is not None for check in checks)


@EACH_TABLE
def test_every_rule_of_a_contract_is_a_blocking_check(table: Table) -> None:
    blocking = {check.name for check in CHECKS[table.name] if check.severity == "ERROR"}

    assert {rule.name for rule in table.rules} | {"key_is_unique", "required_values_present"} <= blocking


def test_checks_load_without_heavy_libraries() -> None:
    program = "import sys, ruter_dagster.contracts.checks; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert not {"great_expectations", "pandas", "polars", "dagster"} & set(loaded.stdout.split())
