"""Malformed rows of CSV files are recognised, whatever their cells contain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ruter_dagster.sources.ragged_rows import row_faults, write_without_unpaired_quotes

CASES: dict[str, tuple[str, list[tuple[int, int, str]]]] = {
    "none": ("a,b,c\n1,2,3\n4,5,\n,,\n", []),
    "one cell missing": ("a,b,c\n1,2,3\n4,5\n", [(3, 2, "4,5")]),
    "one cell too many": ("a,b,c\n1,2,3,4\n5,6,7\n", [(2, 4, "1,2,3,4")]),
    "blank lines": ("a,b,c\n1,2,3\n\n  \n4,5\n\n", [(5, 2, "4,5")]),
    "lines as Windows ends them": ("a,b,c\r\n1,2,3\r\n4,5\r\n", [(3, 2, "4,5")]),
    "separator in quotes": ('a,b,c\n"1,0",2,3\n"4,0",5\n', [(3, 2, '"4,0",5')]),
    "quotes in quotes": ('a,b,c\n"say ""1,2""",2,3\n4,5\n', [(3, 2, "4,5")]),
    "line end in quotes": ('a,b,c\n"1\n1",2,3\n4,5\n"6\n6",7\n', [(3, 2, "4,5"), (4, 2, '"6\n6",7')]),
    "rows of several lines before": (
        'a,b,c\n"1\n,,\n1",2,3\n"2\n",2,3\n4,5\n"6\n\n6",7,8\n9\n',
        [(4, 2, "4,5"), (6, 1, "9")],
    ),
    "quotes within a cell": ('a,b,c\n1 "x,y" z,2\n4,5\n', [(3, 2, "4,5")]),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_with_a_wrong_number_of_cells_are_found(tmp_path: Path, case: str) -> None:
    text, expected = CASES[case]
    file = tmp_path / "rows.csv"
    file.write_bytes(text.encode())
    faults = row_faults(str(file), 3, ",").short_or_long
    assert faults["columns"].unique().to_list() == [3] * bool(expected)
    assert faults.drop("columns").rows() == expected
    file.write_bytes(text.replace(",", ";").encode())
    again = row_faults(str(file), 3, ";").short_or_long
    assert again.select("row", "cells").rows() == [row[:2] for row in expected]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_rows_with_empty_extra_cells_are_padded(tmp_path: Path, separator: str) -> None:
    file = tmp_path / "rows.csv"
    text = 'a,b,c\n1,2,3,\n1,2,,  ,\n1,2,3,""\n1,2,3,"x"\n1,2,3,,x\n"1\n",2,3,,\n"1,",2,3,\n1,2,\n'
    file.write_text(text.replace(",", separator))
    faults = row_faults(str(file), 3, separator)
    assert sorted(faults.padded) == [2, 3, 4, 7, 8]
    assert faults.short_or_long.select("row", "cells").rows() == [(5, 4), (6, 5)]


def test_only_unusual_lines_are_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,002 rows whose cells are quoted, a row short of a cell and one whose cell has two lines."""
    file = tmp_path / "rows.csv"
    file.write_text("a,b,c\n" + '"1,0",2,3\n' * 1000 + '"4,0",5\n"6\n6",7,8\n')
    collected: list[int] = []
    collect = pl.LazyFrame.collect

    def note(frame: pl.LazyFrame, **options: Any) -> pl.DataFrame:
        result = collect(frame, **options)
        collected.append(result.height)
        return result

    monkeypatch.setattr(pl.LazyFrame, "collect", note)
    assert row_faults(str(file), 3, ",").short_or_long.rows() == [(1002, 2, 3, '"4,0",5')]
    assert max(collected) == 3


UNPAIRED: dict[str, tuple[str, list[tuple[int, int]]]] = {
    "within a cell": ('1,2",3\n4,5,6\n', [(2, 2)]),
    "before a cell": ('1,"2,3\n4,5,6\n', [(2, 2)]),
    "after a cell": ('1,2,3"\n4,5,6\n', [(2, 2)]),
    "two in different rows": ('1,"2,3\n4,5,6\n7,8,9"\n', [(2, 2), (4, 4)]),
    "two in neighbours": ('1,"2,3\n4,5"\n', [(2, 2), (3, 3)]),
    "too far apart": ('"1\n' + "\n" * 100 + '1",2,3\n', [(2, 2), (103, 103)]),
    "after a row of two lines": ('"1\n1",2,3\n4,"5,6\n7,8,9\n', [(3, 4)]),
    "before a row of two lines": ('4,"5,6\n"1\n1",2,3\n7,8,9\n', [(2, 2)]),
    "around a row of two lines": (
        '1,"2,3\n' + "1,2,3\n" * 100 + '"1\n1",2,3\n' + "1,2,3\n" * 100 + '7,8,9"\n',
        [(2, 2), (204, 205)],
    ),
    "an even number": ('1,""2,3\n4,"5"6",7"\n"1","2",3\n', [(2, 2), (3, 3)]),
    "none": ('1,2" x 3",4\n"1 ""a"" \n1",2,3\n', []),
}


@pytest.mark.parametrize("case", UNPAIRED)
def test_lines_with_unpaired_quotes_are_found(tmp_path: Path, case: str) -> None:
    text, expected = UNPAIRED[case]
    file = tmp_path / "rows.csv"
    file.write_text("a,b,c\n" + text)
    assert row_faults(str(file), 3, ",").unpaired_quotes.select("row", "line").rows() == expected


def test_copy_has_no_unpaired_quotes(tmp_path: Path) -> None:
    file, copy = tmp_path / "rows.csv", tmp_path / "copy.csv"
    file.write_bytes('a,b,c\n"1\n1",2,3\n\n4,"\xe5,6\n"7,7",8,9\n'.encode("latin-1"))
    faults = row_faults(str(file), 3, ",")
    assert (faults.is_lossy, faults.unpaired_quotes["text"].to_list()) == (True, ['4,"\ufffd,6'])
    write_without_unpaired_quotes(str(file), faults, copy)
    assert copy.read_text() == 'a,b,c\n"1\n1",2,3\n\n4,\ufffd,6\n"7,7",8,9\n'
