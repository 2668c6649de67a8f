"""TIDES tables are read from a folder of any name."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.sources.tides import TidesSource
from tests.sources.tides_folder import DAY, OSLO, write_tables
from tests.storage.test_folder_names import NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tides_folder_may_have_any_name(tmp_path: Path, name: str, form: str) -> None:
    (tmp_path / name).mkdir()
    folder = write_tables(tmp_path / name)
    if form == "parquet":
        for file in list(folder.glob("*.csv")):
            pl.read_csv(file, glob=False, infer_schema=False).write_parquet(file.with_suffix(".parquet"))
            file.unlink()
    source = TidesSource(folder, OSLO)
    assert source.available_dates() == {DAY}
    assert source.planned_departures(DAY).height == 4
