"""Finding feeds in a zip, a folder or an object store, and selecting the feed of a date."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import boto3
import obstore
import pytest
from moto.server import ThreadedMotoServer

from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.sources import gtfs_files
from ruter_dagster.sources.gtfs_files import find_feeds
from ruter_dagster.sources.gtfs_timetable import Timetable
from tests.sources.gtfs_feed import FEED, FRIDAY, OSLO, changed, feed_of, write_folder, write_zip

NEW = changed("feed_info.txt", "autumn-1,20261116,20261213", "autumn-2,20261123,20261220")
"""A newer version, valid a week later."""


def timetable(location: object) -> Timetable:
    return Timetable(str(location), OSLO)


@pytest.mark.parametrize("inside", ["", "export 2026/"])
def test_zip_and_folder_give_the_same_feed(tmp_path: Path, inside: str) -> None:
    zipped = feed_of(write_zip(tmp_path / "feed.zip", inside=inside))
    assert zipped.departures(FRIDAY).equals(feed_of(write_folder(tmp_path / "feed")).departures(FRIDAY))


@pytest.mark.parametrize("name", ["mine prosjekter", "Grünerløkka, øst", "50%20 off"])
def test_path_may_have_any_name(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path / name / "as folder")
    write_zip(tmp_path / name / "as zip, too.zip", NEW)
    assert [feed.version for feed in timetable(tmp_path / name).feeds] == ["autumn-2", "autumn-1"]
    assert timetable(tmp_path / name).feeds[0].departures(FRIDAY).height == 7


def test_hidden_files_are_ignored(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "feed.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/trips.txt", "junk")
        archive.writestr("._stops.txt", "junk")
    write_folder(tmp_path / "_temporary")
    (tmp_path / "._feed.zip").write_text("junk")
    assert [feed.version for feed in timetable(tmp_path).feeds] == ["autumn-1"]


def test_newest_valid_feed_plans_a_date(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", NEW)
    write_zip(tmp_path / "b.zip")
    known = timetable(tmp_path)
    versions = {
        day: feed.version if (feed := known.feed_of(day)) else None
        for day in (date(2026, 11, 15), FRIDAY, date(2026, 11, 23), date(2026, 12, 20), date(2026, 12, 21))
    }
    assert list(versions.values()) == [None, "autumn-1", "autumn-2", "autumn-2", None]


def test_date_in_the_name_decides_which_feed_is_newer(tmp_path: Path) -> None:
    write_zip(tmp_path / "gtfs_20261101.zip", NEW)
    write_zip(tmp_path / "gtfs_20261125.zip")
    feed = timetable(tmp_path).feed_of(date(2026, 12, 1))
    assert feed and feed.version == "autumn-1"


def test_overlapping_and_expired_feeds_are_reported(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", NEW)
    write_zip(tmp_path / "b.zip")
    days = [date(2026, 12, 13) + timedelta(days) for days in range(3)]
    newer, older = timetable(tmp_path).feed_uses(days)
    assert (newer.version, newer.dates, newer.remarks) == ("autumn-2", tuple(days), ())
    assert (older.version, older.first, older.last, older.dates) == (
        "autumn-1",
        date(2026, 11, 16),
        date(2026, 12, 13),
        (),
    )
    assert older.remarks == (
        f"overlapped by {tmp_path}/a.zip from 2026-11-23 to 2026-12-13, which is newer and plans these dates",
    )
    assert [
        feed.remarks for feed in timetable(tmp_path).feed_uses([date(2026, 12, 20), date(2026, 12, 22)])
    ] == [("expired: 2026-12-22 is after its last valid date",)]


def write_archive(folder: Path) -> list[date]:
    """Three years of feeds, each published on a Monday and valid for four weeks from then on; the Mondays."""
    mondays = [date(2024, 1, 1) + timedelta(weeks=week) for week in range(156)]
    for monday in mondays:
        last = monday + timedelta(27)
        feed = changed(
            "feed_info.txt", "autumn-1,20261116,20261213", f"{monday},{monday:%Y%m%d},{last:%Y%m%d}"
        )
        service = (
            FEED["calendar.txt"].replace("20261116", f"{monday:%Y%m%d}").replace("20261213", f"{last:%Y%m%d}")
        )
        write_zip(folder / f"gtfs_{monday:%Y%m%d}.zip", feed | {"calendar.txt": service, "calendar_dates.txt": "service_id,date,exception_type\n"})  # fmt: skip
    return mondays


def test_only_relevant_feeds_are_opened_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, before, newest = write_archive(tmp_path)
    opened: list[str] = []
    members = gtfs_files._members
    monkeypatch.setattr(
        gtfs_files, "_members", lambda name, archive: opened.append(name) or members(name, archive)
    )
    days = [newest + timedelta(days) for days in range(4)]
    used, older = timetable(tmp_path).feed_uses(days)
    assert [(feed.version, feed.dates) for feed in (used, older)] == [
        (str(newest), tuple(days)),
        (str(before), ()),
    ]
    assert used.remarks == ()
    assert [remark.split(" from ")[0] for remark in older.remarks] == [f"overlapped by {used.name}"]
    assert opened == [used.name, older.name]
    assert timetable(tmp_path).feed_of(days[0])
    assert len(opened) == 2, "the same process opens a feed once"


def test_error_for_a_late_date_names_the_newest_feeds(tmp_path: Path) -> None:
    newest = write_archive(tmp_path)[-1]
    late = newest + timedelta(28)
    known = timetable(tmp_path)
    [last] = known.feed_uses([newest + timedelta(27), late])
    assert last.remarks == (f"expired: {late} is after its last valid date",)
    assert "and 151 older ones. Add a newer feed" in str(known.absence(late))


def test_rewritten_feed_has_another_identity(tmp_path: Path) -> None:
    def identity() -> str:
        return find_feeds(str(path))[0].identity

    path = write_zip(tmp_path / "feed.zip")
    first = identity()
    assert identity() == first
    assert timetable(path).feeds[0].version == "autumn-1"
    write_zip(path, NEW)
    assert identity() != first
    assert timetable(path).feeds[0].version == "autumn-2"


def test_error_for_an_unplanned_date_names_feeds_and_their_validity(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip")
    reason = str(timetable(tmp_path).absence(date(2027, 1, 5)))
    assert reason.startswith("No GTFS feed is valid on 2027-01-05")
    assert f"{tmp_path}/a.zip (version autumn-1) from 2026-11-16 to 2026-12-13. Add a newer feed" in reason


def test_content_hash_replaces_a_missing_version(tmp_path: Path) -> None:
    feed = {name: text for name, text in FEED.items() if name != "feed_info.txt"}
    first = feed_of(write_zip(tmp_path / "1" / "feed.zip", feed)).version
    again = feed_of(write_zip(tmp_path / "2" / "other name.zip", feed)).version
    other = feed_of(
        write_zip(tmp_path / "3" / "feed.zip", feed | {"stops.txt": FEED["stops.txt"] + "x,,X,,\n"})
    ).version
    assert first == again != other
    assert len(first) == 12


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "feed.zip is not a readable zip file"),
        (b"not a zip", "feed.zip is not a readable zip file .*copy it again"),
        ({}, "feed.zip has no GTFS file (it is empty); export the feed again"),
        ({"readme.md": "hello"}, "feed.zip has no GTFS file (readme.md)"),
        ({"a/trips.txt": "", "b/trips.txt": ""}, "feed.zip has several files with the same name"),
    ],
)
def test_zip_without_a_feed_is_refused(tmp_path: Path, content: bytes | dict[str, str], message: str) -> None:
    path = tmp_path / "feed.zip"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_zip(path, content)
    with pytest.raises(BadInput) as refused:
        timetable(path)
    assert all(part in str(refused.value) for part in message.split(" .*"))


def test_error_names_broken_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "feed.zip")
    content = path.read_bytes()
    place = content.index(b"stop_times.txt") + 40
    path.write_bytes(content[:place] + b"\xff" * 30 + content[place + 30 :])
    with pytest.raises(BadInput, match=r"feed.zip is not a readable zip file"):
        feed_of(path).departures(FRIDAY)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "there is no such file or folder; check the path"),
        ("empty", "has no GTFS feed: expected a zip, the .txt files of a feed, or a folder of such"),
        ("notes.txt", "is not a .zip file; set the path of the zip, or of the folder of the feed"),
    ],
)
def test_location_without_a_feed_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(BadInput) as refused:
        find_feeds(f"{tmp_path}/{name}")
    assert f"RUTER_GTFS_PATH={tmp_path}/{name}" in str(refused.value)
    assert message in str(refused.value)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    for name, value in {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
        "AWS_REGION": "eu-north-1",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").Bucket("timetables")
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    yield bucket
    bucket.objects.delete()
    bucket.delete()
    server.stop()


def test_feeds_of_an_object_store_are_read(bucket, tmp_path: Path) -> None:
    bucket.put_object(Key="oslo/new feed.zip", Body=write_zip(tmp_path / "a.zip", NEW).read_bytes())
    for name, text in FEED.items():
        bucket.put_object(Key=f"oslo/old/{name}", Body=text.encode())
    known = timetable("s3://timetables/oslo")
    assert [feed.name for feed in known.feeds] == [
        "s3://timetables/oslo/new feed.zip",
        "s3://timetables/oslo/old",
    ]
    expected = feed_of(write_folder(tmp_path / "feed")).departures(FRIDAY)
    assert all(feed.departures(FRIDAY).equals(expected) for feed in known.feeds)
    [one] = timetable("s3://timetables/oslo/new feed.zip").feeds
    assert one.version == "autumn-2"


def test_large_remote_zip_is_not_fetched_completely(
    bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = random.Random(1).randbytes(2**23).hex()
    path = write_zip(tmp_path / "a.zip", {**FEED, "shapes.txt": shapes})
    bucket.put_object(Key="gtfs.zip", Body=path.read_bytes())
    fetched: list[int] = []
    get_range = obstore.get_range
    monkeypatch.setattr(
        gtfs_files.obstore,
        "get_range",
        lambda store, path, start, length: (
            fetched.append(length) or get_range(store, path, start=start, length=length)
        ),
    )
    [feed] = timetable("s3://timetables/gtfs.zip").feeds
    assert feed.version == "autumn-1"
    assert sum(fetched) < path.stat().st_size


def test_error_names_missing_object(bucket) -> None:
    with pytest.raises(
        BadInput, match=r"s3://timetables/none.zip cannot be read .*check the address and permissions"
    ):
        find_feeds("s3://timetables/none.zip")
    with pytest.raises(BadInput, match="RUTER_GTFS_PATH=s3://timetables/none has no GTFS feed"):
        find_feeds("s3://timetables/none")


def test_rewritten_equal_content_is_the_same_feed(bucket, tmp_path: Path) -> None:
    """An exporter that uploads the same feed every night does not have the dates ahead planned anew."""

    def identity(stored_at: str) -> str:
        place = gtfs_files._Remote("s3://timetables")
        place.paths()
        place._objects["gtfs.zip"] = {**place._objects["gtfs.zip"], "last_modified": stored_at}
        return place.identity("gtfs.zip")

    bucket.put_object(Key="gtfs.zip", Body=write_zip(tmp_path / "a.zip").read_bytes())
    first = identity("2026-11-20 03:00")
    bucket.put_object(Key="gtfs.zip", Body=(tmp_path / "a.zip").read_bytes())
    assert identity("2026-11-21 03:00") == first
    bucket.put_object(Key="gtfs.zip", Body=write_zip(tmp_path / "b.zip", NEW).read_bytes())
    assert identity("2026-11-21 03:00") != first


def break_feed(folder: Path, how: str) -> Path:
    """A newer feed that cannot be read: where it is opened, or only where a date is planned."""
    path = folder / f"{how}.zip"
    if how == "no zip":
        path.write_bytes(write_zip(path, NEW).read_bytes()[:500])
        return path
    if how == "half a folder":
        return write_folder(
            folder / how, {name: text for name, text in NEW.items() if name != "stop_times.txt"}
        )
    broken = {
        "no stop times": ("stop_times.txt", "trip_id\n"),
        "no route types": ("routes.txt", "route_id\n31\n"),
    }
    name, text = broken[how]
    return write_zip(path, NEW | {name: text})


@pytest.mark.parametrize("how", ["no zip", "half a folder", "no stop times", "no route types"])
def test_older_feed_replaces_a_broken_newer_one(tmp_path: Path, how: str) -> None:
    write_zip(tmp_path / "old.zip")
    path = break_feed(tmp_path, how)
    known, day = timetable(tmp_path), date(2026, 11, 24)
    plan = known.departures(day, [day])
    assert plan is not None
    assert plan.height == 7
    assert known.aliases(day).stops["7501"] == "jernbanetorget"
    used, broken = known.feed_uses([day])
    assert (used.version, used.dates) == ("autumn-1", (day,))
    assert (broken.name, broken.version, broken.first) == (str(path), None, None)
    assert broken.remarks[0].startswith("unreadable: ")
    assert str(path) in broken.remarks[0]


@pytest.mark.parametrize("how", ["no zip", "no stop times"])
def test_error_for_unplanned_dates_names_the_broken_feed(tmp_path: Path, how: str) -> None:
    write_zip(tmp_path / "old.zip")
    path = break_feed(tmp_path, how)
    known, late = timetable(tmp_path), date(2026, 12, 15)
    assert known.departures(late, [late]) is None
    assert known.unreadable_plan(FRIDAY) is None
    reason = str(known.unreadable_plan(late))
    assert reason.startswith("No readable GTFS feed is valid on 2026-12-15. ")
    assert str(path) in reason


def test_broken_feed_does_not_affect_dates_before_its_name(tmp_path: Path) -> None:
    write_zip(tmp_path / "gtfs_20261101.zip")
    (tmp_path / "gtfs_20261214.zip").write_bytes(b"half")
    known = timetable(tmp_path)
    assert known.departures(date(2026, 12, 14), []) is None
    assert known.unreadable_plan(date(2026, 12, 14)) is not None
    assert known.unreadable_plan(date(2026, 11, 1)) is None


def test_error_names_broken_feeds_if_all_are_broken(tmp_path: Path) -> None:
    (tmp_path / "gtfs_20261214.zip").write_bytes(b"half")
    with pytest.raises(BadInput, match=r"gtfs_20261214.zip is not a readable zip file"):
        timetable(tmp_path).aliases(FRIDAY)


def test_unreachable_feed_is_not_replaced(bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next attempt may read it: an older feed must not plan its dates meanwhile."""
    for name, feed in (("new.zip", NEW), ("old.zip", FEED)):
        bucket.put_object(Key=f"oslo/{name}", Body=write_zip(tmp_path / name, feed).read_bytes())
    get_range = obstore.get_range

    def fail(store: object, path: str, **part: int) -> object:
        if path == "new.zip":
            raise obstore.exceptions.GenericError("connection reset")
        return get_range(store, path, **part)

    monkeypatch.setattr(gtfs_files.obstore, "get_range", fail)
    with pytest.raises(BadInput, match=r"oslo/new.zip cannot be read .connection reset"):
        timetable("s3://timetables/oslo").feed_of(FRIDAY)
