"""Counts the files, rows and columns that a job reads, by table."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

import polars as pl
import pytest
from pyiceberg.table import DataScan

from ruter_dagster.storage.snapshots import TableSnapshot

_SCAN = re.compile(r"Parquet SCAN \[([^]]+)]")
_OTHERS = re.compile(r"\.\.\. (\d+) other")
_TABLE = re.compile(r"/tables/(\w+)/(\w+)/data/")


class Reads:
    """Counts reads from its creation on. A file that is opened twice counts twice."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.columns: dict[str, set[str]] = defaultdict(set)
        collect, rows = pl.LazyFrame.collect, TableSnapshot._rows

        def counting(frame: pl.LazyFrame, *arguments: Any, **options: Any) -> Any:
            self._count_files(frame.explain(optimized=False))
            return collect(frame, *arguments, **options)

        def measuring(snapshot: TableSnapshot, *arguments: Any, **options: Any) -> pl.DataFrame:
            frame = rows(snapshot, *arguments, **options)
            self.rows[snapshot._table.name] += frame.height
            self.columns[snapshot._table.name] |= set(frame.columns)
            return frame

        def refused(scan: DataScan, *_: Any, **__: Any) -> None:
            pytest.fail("pyiceberg reads the rows, which takes several times as long as polars")

        monkeypatch.setattr(pl.LazyFrame, "collect", counting)
        monkeypatch.setattr(TableSnapshot, "_rows", measuring)
        monkeypatch.setattr(DataScan, "to_arrow", refused)

    def _count_files(self, plan: str) -> None:
        for sources in _SCAN.findall(plan):
            if table := _TABLE.search(sources):
                others = _OTHERS.search(sources)
                self.files[".".join(table.groups())] += sources.count(".parquet") + int(
                    others[1] if others else 0
                )
