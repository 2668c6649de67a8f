"""Dates are read in batches of so many bytes, so that memory follows neither the range nor the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.sources.base import batches_of
from ruter_dagster.sources.demo.source import DemoSource
from ruter_dagster.sources.tides import TidesSource
from ruter_dagster.sources.tides_scanner import BYTES_PER_CSV_ROW
from tests.sources.tides_folder import DAY, VISITS, write_tables

DATES = [DAY + timedelta(days) for days in range(6)]


class Sized(DemoSource):
    def date_sizes(self, dates: Sequence[date]) -> Mapping[date, int]:
        return dict(zip(dates, (10, 10, 10, 100, 10, 10), strict=True))


@pytest.mark.parametrize(
    ("most_dates", "most_bytes", "lengths"),
    [(28, 1000, [6]), (4, 1000, [4, 2]), (28, 25, [2, 1, 1, 2]), (28, 5, [1] * 6)],
)
def test_a_batch_has_few_bytes_or_one_date(most_dates: int, most_bytes: int, lengths: list[int]) -> None:
    batches = batches_of(Sized(1, "small"), DATES, most_dates, most_bytes)
    assert [len(batch) for batch in batches] == lengths
    assert [day for batch in batches for day in batch] == DATES


def test_a_source_of_unknown_size_is_cut_by_dates() -> None:
    assert [len(batch) for batch in batches_of(DemoSource(1, "small"), DATES, 4, 1)] == [4, 2]


def test_sizes_of_tides_dates_are_those_of_their_files(tmp_path: Path) -> None:
    write_tables(tmp_path)
    assert TidesSource(tmp_path, "Europe/Oslo").date_sizes([DAY]) == {DAY: len(VISITS)}
    (tmp_path / "stop_visits").mkdir()
    (tmp_path / "stop_visits.csv").rename(tmp_path / "stop_visits" / f"{DAY}.csv")
    sizes = TidesSource(tmp_path, "Europe/Oslo").date_sizes(DATES[:2])
    assert sizes == {DAY: len(VISITS), DATES[1]: 0}


def test_parquet_counts_by_its_rows(tmp_path: Path) -> None:
    write_tables(tmp_path)
    (tmp_path / "stop_visits.csv").unlink()
    pl.read_csv(VISITS.encode(), null_values="NA").write_parquet(tmp_path / "stop_visits.parquet")
    assert TidesSource(tmp_path, "Europe/Oslo").date_sizes([DAY]) == {DAY: 4 * BYTES_PER_CSV_ROW}
