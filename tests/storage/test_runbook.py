"""The commands of docs/runbook.md restore a date of a table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ruter_dagster.config.settings import load_settings
from ruter_dagster.storage.configured_tables import open_tables
from tests.storage.frames import DAY, VISITS, visits

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"


def commands(snapshot: int | None) -> str:
    """The page's Python, for the small table of these tests."""
    (code,) = re.findall(r"```python\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
    code = code.replace(
        "ruter_dagster.contracts.tables import LOAD_FORECASTS", "tests.storage.frames import VISITS"
    )
    code = re.sub(
        r"(?m)^SNAPSHOT_ID = .*$", f"SNAPSHOT_ID = {snapshot}", code.replace("LOAD_FORECASTS", "VISITS")
    )
    return re.sub(r"(?m)^DATES = .*$", f"DATES = [date({DAY.year}, {DAY.month}, {DAY.day})]", code)


def test_commands_of_the_runbook_restore_rows_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("RUTER_ENV_FILE", "")
    tables = open_tables(load_settings())
    good = tables.write(VISITS, visits(load=12.0), [DAY], code_version="1")
    tables.write(VISITS, visits(load=99.0), [DAY], code_version="2")
    exec(commands(good.snapshot_id), {})
    assert open_tables(load_settings()).versions(VISITS, [DAY]) == good.hashes
    assert tables.read(VISITS, [DAY])["load"].to_list() == [12.0] * 20
    assert not tables.write(VISITS, visits(load=99.0), [DAY], code_version="3").unchanged
