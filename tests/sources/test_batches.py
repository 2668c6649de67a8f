"""Batches of dates limit the memory of a job, whatever the length of the range or the size of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.sources.base import date_batches
from ruter_dagster.sources.demo.source import DemoSource
from ruter_dagster.sources.tides import TidesSource
from ruter_dagster.sources.tides_scanner import BYTES_PER_CSV_ROW
from tests.sources.tides_folder import DAY, VISITS, write_tables

DATES = [DAY + timedelta(days) for days in range(6)]


class Sized(DemoSource):
    def date_sizes(self, dates: Sequence[date]) -> Mapping[date, int]:
        return dict(zip(dates, (10, 10, 10, 100, 10, 10), strict=True))


@pytest.mark.parametrize(
    ("max_dates", "max_bytes", "lengths"),
    [(28, 1000, [6]), (4, 1000, [4, 2]), (28, 25, [2, 1, 1, 2]), (28, 5, [1] * 6)],
)
def test_batch_keeps_the_limits_or_has_one_date(max_dates: int, max_bytes: int, lengths: list[int]) -> None:
    batches = date_batches(Sized(1, "small"), DATES, max_dates, max_bytes)
    assert [len(batch) for batch in batches] == lengths
    assert [day for batch in batches for day in batch] == DATES


def test_batches_of_unknown_size_limit_the_dates() -> None:
    assert [len(batch) for batch in date_batches(DemoSource(1, "small"), DATES, 4, 1)] == [4, 2]


def test_size_of_a_tides_date_is_its_file_size(tmp_path: Path) -> None:
    write_tables(tmp_path)
    assert TidesSource(tmp_path, "Europe/Oslo").date_sizes([DAY]) == {DAY: len(VISITS)}
    (tmp_path / "stop_visits").mkdir()
    (tmp_path / "stop_visits.csv").rename(tmp_path / "stop_visits" / f"{DAY}.csv")
    sizes = TidesSource(tmp_path, "Europe/Oslo").date_sizes(DATES[:2])
    assert sizes == {DAY: len(VISITS), DATES[1]: 0}


def test_size_of_parquet_follows_from_its_rows(tmp_path: Path) -> None:
    write_tables(tmp_path)
    (tmp_path / "stop_visits.csv").unlink()
    pl.read_csv(VISITS.encode(), null_values="NA").write_parquet(tmp_path / "stop_visits.parquet")
    assert TidesSource(tmp_path, "Europe/Oslo").date_sizes([DAY]) == {DAY: 4 * BYTES_PER_CSV_ROW}
