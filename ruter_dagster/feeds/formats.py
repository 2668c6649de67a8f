"""The feeds that a publication can have, by their name in the settings, and the files of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ruter_dagster.feeds.calls import Calls, FeedHeader
from ruter_dagster.feeds.gtfs_occupancies import occupancies
from ruter_dagster.feeds.gtfs_realtime import trip_updates
from ruter_dagster.feeds.gzip_file import gzip_file
from ruter_dagster.feeds.occupancy_forecast import occupancy_forecast
from ruter_dagster.feeds.siri import estimated_timetable


@dataclass(frozen=True)
class Format:
    """The content of a feed's file, its name and its media type. There is one file per operating day.

    `{operator}` in the name is the operator's codespace. A name that ends with `.gz` is of a compressed file.
    """

    parts: Callable[[Calls, FeedHeader], Iterable[bytes | memoryview]]
    file_name: str
    media_type: str


FORMATS: dict[str, Format] = {
    "siri-et": Format(estimated_timetable, "operator-{operator}.xml.gz", "application/xml"),
    "occupancy-forecast": Format(occupancy_forecast, "operator-{operator}.json.gz", "application/json"),
    "gtfs-realtime": Format(trip_updates, "trip-updates.pb", "application/x-protobuf"),
    "gtfs-occupancies": Format(occupancies, "occupancies.txt.gz", "text/csv"),
}


@dataclass(frozen=True)
class FeedFile:
    """One file of a feed. `path` is relative to the publication's folder."""

    feed: str
    path: str
    media_type: str
    calls: Calls
    content: bytes


def feed_files(calls: Calls, header: FeedHeader, feeds: Iterable[str]) -> Iterator[FeedFile]:
    """The files of one operating day, one for each of `feeds` (keys of `FORMATS`)."""
    for feed in feeds:
        form = FORMATS[feed]
        name = form.file_name.format(operator=header.codespace)
        parts = form.parts(calls, header)
        content = gzip_file(parts) if name.endswith(".gz") else b"".join(parts)
        yield FeedFile(feed, f"{feed}/{calls.operating_day}/{name}", form.media_type, calls, content)
