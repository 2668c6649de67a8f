"""The job of feeds: every channel shows the same publication, and a reader never sees half of one."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.errors import BadInput, NoDataForDates, PermanentFailure
from ruter_dagster.contracts.feeds import DEFAULT_FEEDS
from ruter_dagster.contracts.jobs import Feeds
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.forecasting.occupancy import GTFS_STATUS
from ruter_dagster.jobs import feeds
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import DateReport, Reporter
from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.feed_files import LATEST, FeedFiles
from ruter_dagster.storage.publications import Publication, read_published, record_publication
from tests.feeds.readers import section_calls, siri_calls, trip_update_calls, trip_updates
from tests.feeds.samples import expected_calls
from tests.publishing.samples import ISSUE_DATE, load_forecasts

ROWS = 400


def context_of(folder: Path, *dates: date, of_range: bool = False, **settings: Any) -> JobContext:
    parameters = Feeds(dates=dates or (ISSUE_DATE,), of_range=of_range)
    chosen = Settings(source="demo", state_dir=folder, _env_file=None, **settings)  # pyright: ignore[reportCallIssue]
    return JobContext(chosen, parameters, Container(folder), Reporter(None))


def run(folder: Path, *dates: date, of_range: bool = False, **settings: Any) -> JobContext:
    context = context_of(folder, *dates, of_range=of_range, **settings)
    feeds.run(context.parameters, context)  # pyright: ignore[reportArgumentType]
    return context


def forecasts_of(
    issue_date: date, rows: int = ROWS, level: str = "fewSeatsAvailable", stop: str | None = None
) -> pl.DataFrame:
    days = (issue_date - ISSUE_DATE).days
    return load_forecasts(rows).with_columns(
        pl.col("issue_date", "operating_date").dt.offset_by(f"{days}d"),
        pl.col("scheduled_departure_time").dt.offset_by(f"{days}d"),
        stop_id=pl.lit(stop) if stop else pl.col("stop_id"),
        occupancy_level=pl.lit(level),
        occupancy_status=pl.lit(GTFS_STATUS[level], dtype=pl.Int32),
    )


def publish(
    folder: Path, issue_date: date = ISSUE_DATE, *, minutes: int = 0, **forecasts: Any
) -> Publication:
    """Writes forecasts and records their publication, as the job `publish` does after Kafka's commit."""
    store = context_of(folder).store
    written = store.write(
        LOAD_FORECASTS, forecasts_of(issue_date, **forecasts), [issue_date], code_version="1"
    )
    issued_at = datetime(issue_date.year, issue_date.month, issue_date.day, 3, 30, tzinfo=UTC)
    publication = Publication(
        issue_date=issue_date,
        publication_id=f"{issue_date:%m%d}-{minutes}",
        content_hash=written.hashes[issue_date],
        snapshot_id=written.snapshot_id,
        schema_version=2,
        issued_at=issued_at,
        published_at=issued_at + timedelta(minutes=1 + minutes),
        journeys=1,
        calls=ROWS,
        tombstones=0,
        thresholds_version="nordic",
        degraded=False,
    )
    record_publication(store, publication)
    return publication


def latest(artifacts: ArtifactStore) -> dict[str, Any]:
    return json.loads(artifacts.get(LATEST))


def contents(artifacts: ArtifactStore, feed: str, document: dict[str, Any] | None = None) -> list[bytes]:
    document = document or latest(artifacts)
    return [artifacts.get(document["folder"] + file["path"]) for file in document["files"] if file["feed"] == feed]  # fmt: skip


def test_feeds_have_every_published_call_once(tmp_path: Path) -> None:
    publication = publish(tmp_path)
    context = run(tmp_path)
    expected = expected_calls(read_published(context.store, publication))
    assert len(expected) == ROWS
    siri = [call for content in contents(context.artifacts, "siri-et") for call in siri_calls(content)]
    assert siri == expected
    updates = [call for content in contents(context.artifacts, "gtfs-realtime") for call in trip_update_calls(content)]  # fmt: skip
    assert [(day, trip, stop, level) for day, trip, _, stop, level in updates] == [
        (day, trip, stop, level) for day, trip, _, stop, level in expected
    ]
    sections = [call for content in contents(context.artifacts, "occupancy-forecast") for call in section_calls(content)]  # fmt: skip
    journeys = {(day, trip) for day, trip, *_ in expected}
    assert {(day, trip) for day, trip, *_ in sections} == journeys
    assert len(sections) == ROWS - len(journeys)


def test_latest_describes_files_by_size_and_hash(tmp_path: Path) -> None:
    publication = publish(tmp_path)
    artifacts = run(tmp_path).artifacts
    document = latest(artifacts)
    assert (document["publicationId"], document["issuedAt"]) == (
        publication.publication_id,
        "2026-11-20T03:30:00.000000+00:00",
    )
    assert sorted({file["feed"] for file in document["files"]}) == sorted(DEFAULT_FEEDS)
    assert len(document["files"]) == 4 * len(DEFAULT_FEEDS), "one file of each feed for each of four days"
    for file in document["files"]:
        content = artifacts.get(document["folder"] + file["path"])
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_forecasts_that_are_not_published_are_not_in_feeds(tmp_path: Path) -> None:
    publish(tmp_path, level="full")
    changed = forecasts_of(ISSUE_DATE, level="empty")
    context_of(tmp_path).store.write(LOAD_FORECASTS, changed, [ISSUE_DATE], code_version="1")
    levels = {
        call[4] for content in contents(run(tmp_path).artifacts, "siri-et") for call in siri_calls(content)
    }
    assert levels == {"full"}


def test_correction_replaces_the_first_publication(tmp_path: Path) -> None:
    publish(tmp_path, level="full")
    first = latest(run(tmp_path).artifacts)
    publish(tmp_path, minutes=30, level="empty")
    artifacts = run(tmp_path).artifacts
    assert latest(artifacts)["publicationId"] == "1120-30"
    assert {call[4] for content in contents(artifacts, "siri-et") for call in siri_calls(content)} == {
        "empty"
    }
    assert contents(artifacts, "siri-et", first), "who reads the first publication finds its files"


def test_older_issue_date_gets_feeds_and_is_not_latest(tmp_path: Path) -> None:
    publish(tmp_path)
    run(tmp_path)
    older = ISSUE_DATE - timedelta(1)
    publish(tmp_path, older, minutes=600)
    artifacts = run(tmp_path, older).artifacts
    assert latest(artifacts)["issueDate"] == "2026-11-20"
    assert artifacts.exists("feeds/2026-11-19/1119-600/publication.json")


def test_repeated_job_writes_the_same_bytes(tmp_path: Path) -> None:
    publish(tmp_path)
    artifacts = run(tmp_path).artifacts
    before = artifacts.find_all(artifacts.list("feeds/"))
    run(tmp_path)
    assert artifacts.find_all(artifacts.list("feeds/")) == before


def test_failure_between_files_leaves_the_former_publication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path)
    before = latest(run(tmp_path).artifacts)
    publish(tmp_path, ISSUE_DATE + timedelta(1))
    put, written = ArtifactStore.put, list[str]()

    def fail_at_third_file(store: ArtifactStore, key: str, content: bytes) -> None:
        if len(written) == 2:
            raise PermanentFailure("disk full")
        written.append(key)
        put(store, key, content)

    with monkeypatch.context() as patched:
        patched.setattr(ArtifactStore, "put", fail_at_third_file)
        with pytest.raises(PermanentFailure, match="disk full"):
            run(tmp_path, ISSUE_DATE + timedelta(1))
    artifacts = context_of(tmp_path).artifacts
    assert latest(artifacts) == before
    run(tmp_path, ISSUE_DATE + timedelta(1))
    assert latest(artifacts)["issueDate"] == "2026-11-21"


def test_date_without_publication_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(NoDataForDates, match=r"2026-11-20.*Materialise forecasts/published_forecasts"):
        run(tmp_path)


def test_superseded_date_has_no_feeds(tmp_path: Path) -> None:
    publish(tmp_path)
    older = ISSUE_DATE - timedelta(1)
    context = context_of(tmp_path, older)
    reports: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Reporter, "materialised", lambda _, asset, **metadata: reports.append(metadata))
        feeds.run(context.parameters, context)  # pyright: ignore[reportArgumentType]
    assert reports[0]["dates"] == {older: DateReport(0, "superseded")}
    assert context.artifacts.list("feeds/") == []


def test_range_leaves_out_dates_without_publication(tmp_path: Path) -> None:
    publish(tmp_path)
    context = run(tmp_path, ISSUE_DATE, ISSUE_DATE + timedelta(1), of_range=True)
    assert latest(context.artifacts)["issueDate"] == "2026-11-20"


def test_old_feeds_are_deleted(tmp_path: Path) -> None:
    for age in (2, 1, 0):
        publish(tmp_path, ISSUE_DATE - timedelta(age), rows=80)
        run(tmp_path, ISSUE_DATE - timedelta(age), feeds_keep_days=1)
    kept = {key.split("/")[1] for key in context_of(tmp_path).artifacts.list("feeds/")}
    assert kept == {"2026-11-19", "2026-11-20", "latest.json"}


def test_outdated_issue_date_gets_no_feeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dates = [ISSUE_DATE - timedelta(age) for age in (2, 1, 0)]
    for day in dates:
        publish(tmp_path, day, rows=80)
    written: list[str] = []
    put = FeedFiles.put
    monkeypatch.setattr(FeedFiles, "put", lambda store, *file: written.append(file[0]) or put(store, *file))
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(Reporter, "materialised", lambda _, asset, **metadata: reports.append(metadata))
    run(tmp_path, *dates, of_range=True, feeds_keep_days=1)
    run(tmp_path, dates[0], feeds_keep_days=1)
    assert {folder.split("/")[1] for folder in written} == {"2026-11-19", "2026-11-20"}
    assert [report["dates"][dates[0]] for report in reports] == [DateReport(0, "outdated")] * 2


def test_correction_states_a_later_time_in_all_feeds(tmp_path: Path) -> None:
    publish(tmp_path, rows=80)
    first = times(run(tmp_path).artifacts)
    publish(tmp_path, minutes=30, rows=80, level="empty")
    assert times(run(tmp_path).artifacts) == [time + timedelta(minutes=30) for time in first]


def times(artifacts: ArtifactStore) -> list[datetime]:
    """Every time of publication in the first file of each feed."""
    siri = contents(artifacts, "siri-et")[0]
    document = etree.fromstring(gzip.decompress(siri))
    texts = [document.findtext(f".//{{*}}{name}") for name in ("ResponseTimestamp", "RecordedAtTime")]
    swiss = json.loads(gzip.decompress(contents(artifacts, "occupancy-forecast")[0]))["lastUpdated"]
    realtime = trip_updates(contents(artifacts, "gtfs-realtime")[0])
    stamps = [realtime.header.timestamp, realtime.entity[0].trip_update.timestamp]
    return [
        *(datetime.fromisoformat(text) for text in (*texts, swiss)),
        *(datetime.fromtimestamp(stamp, UTC) for stamp in stamps),
    ]


def test_files_that_latest_names_stay_until_it_names_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, rows=80)
    before = latest(run(tmp_path).artifacts)

    def fail(*_: Any) -> bool:
        raise PermanentFailure("stopped")

    monkeypatch.setattr(FeedFiles, "make_latest", fail)
    with pytest.raises(PermanentFailure, match="stopped"):
        run(tmp_path, feeds="siri-et")
    artifacts = context_of(tmp_path).artifacts
    assert latest(artifacts) == before
    assert all(artifacts.exists(before["folder"] + file["path"]) for file in before["files"])


def test_unknown_numbers_of_stops_refuse_occupancies_before_any_file(tmp_path: Path) -> None:
    publish(tmp_path, rows=80)
    with pytest.raises(BadInput, match="first_stop_sequence"):
        run(tmp_path, feeds="siri-et,gtfs-occupancies")
    assert context_of(tmp_path).artifacts.list("feeds/") == []


def test_journeys_that_need_numbers_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    publish(tmp_path, rows=80, stop="NSR:Quay:1")
    with caplog.at_level("WARNING", "ruter_dagster.jobs"):
        run(tmp_path)
    (warning,) = [record.message for record in caplog.records if "stop twice" in record.message]
    assert "leaves out 4 journeys" in warning and "first_stop_sequence" in warning


def test_setting_chooses_the_feeds(tmp_path: Path) -> None:
    publish(tmp_path)
    artifacts = run(tmp_path, feeds="siri-et").artifacts
    assert {file["feed"] for file in latest(artifacts)["files"]} == {"siri-et"}
    artifacts = run(tmp_path, feeds="none").artifacts
    assert latest(artifacts)["files"] == []
    assert artifacts.list("feeds/2026-11-20/") == ["feeds/2026-11-20/1120-0/publication.json"]


def test_identifiers_that_siri_refuses_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path)
    with caplog.at_level("WARNING", "ruter_dagster.jobs"):
        run(tmp_path)
    (warning,) = [record.message for record in caplog.records if "XML schema" in record.message]
    assert 'RUT:ServiceJourney:31-0|100 % "ø"' in warning


def test_operator_names_producer_and_operator(tmp_path: Path) -> None:
    publication = publish(tmp_path)
    header = feeds._header(publication, context_of(tmp_path))
    assert (header.codespace, header.operator_ref) == ("Demo-network", "Demo-network")
    context = context_of(tmp_path, operator="ruter")
    header = feeds._header(publication, context)
    assert (header.codespace, header.operator_ref, header.time_zone) == ("RUT", "RUT", "Europe/Oslo")
