"""The formats' files: names, repetition and compression."""

import gzip

import pytest

from ruter_dagster.contracts.feeds import FEED_NAMES
from ruter_dagster.feeds.calls import calls_by_day
from ruter_dagster.feeds.formats import FORMATS, feed_files
from ruter_dagster.feeds.gzip_file import BLOCK_BYTES, gzip_file
from tests.feeds.samples import HEADER, forecasts


def files(seed: int = 0) -> dict[str, bytes]:
    frame = forecasts().sample(fraction=1, shuffle=True, seed=seed)
    return {file.path: file.content for calls in calls_by_day(frame) for file in feed_files(calls, HEADER, FEED_NAMES)}  # fmt: skip


def test_settings_and_formats_have_the_same_feeds() -> None:
    assert tuple(FORMATS) == FEED_NAMES


def test_each_operating_day_has_one_file_of_each_feed() -> None:
    assert sorted(files()) == [
        "gtfs-occupancies/2026-11-20/occupancies.txt.gz",
        "gtfs-occupancies/2026-11-21/occupancies.txt.gz",
        "gtfs-realtime/2026-11-20/trip-updates.pb",
        "gtfs-realtime/2026-11-21/trip-updates.pb",
        "occupancy-forecast/2026-11-20/operator-RUT.json.gz",
        "occupancy-forecast/2026-11-21/operator-RUT.json.gz",
        "siri-et/2026-11-20/operator-RUT.xml.gz",
        "siri-et/2026-11-21/operator-RUT.xml.gz",
    ]


def test_same_rows_in_any_order_have_the_same_bytes() -> None:
    assert files(seed=1) == files(seed=2)


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 7])
def test_compressed_blocks_are_one_gzip_member(size: int) -> None:
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    compressed = gzip_file([content[: size // 3], memoryview(content)[size // 3 :]])
    assert gzip.decompress(compressed) == content
    assert compressed.count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00") == 1


@pytest.mark.parametrize("rows", [1, 7, 12, 500])
def test_slices_do_not_change_the_content(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (calls, *_) = calls_by_day(forecasts())
    whole = {name: b"".join(form.parts(calls, HEADER)) for name, form in FORMATS.items()}
    monkeypatch.setattr("ruter_dagster.feeds.calls.SLICE_ROWS", rows)
    assert {name: b"".join(form.parts(calls, HEADER)) for name, form in FORMATS.items()} == whole
