"""The store of feeds: the order of writes, latest.json, and deletion."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ruter_dagster.storage.artifacts import ArtifactStore
from ruter_dagster.storage.feed_files import LATEST, FeedFiles, FeedPublication, StoredFile, folder_of

DAY = date(2026, 11, 20)
PUBLISHED_AT = datetime(2026, 11, 20, 3, 31, 5, 250000, tzinfo=UTC)


def publication(issue_date: date = DAY, publication_id: str = "a", published_at: datetime = PUBLISHED_AT) -> FeedPublication:  # fmt: skip
    file = StoredFile(
        "siri-et", issue_date, f"siri-et/{issue_date}/f.xml.gz", "application/xml", 3, "f00", 1, 2
    )
    return FeedPublication(
        publication_id, issue_date, datetime(2026, 11, 20, 3, 30, tzinfo=UTC), published_at, (file,)
    )


def write(artifacts: ArtifactStore, feeds: FeedPublication) -> bool:
    store = FeedFiles(artifacts)
    for file in feeds.files:
        store.put(feeds.folder, file.path, b"xml")
    store.complete(feeds)
    is_latest = store.make_latest(feeds)
    store.delete_leftovers(feeds)
    return is_latest


def latest_id(artifacts: ArtifactStore) -> str:
    return json.loads(artifacts.get(LATEST))["publicationId"]


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore.at(tmp_path)


def test_latest_names_the_publication_and_its_files(artifacts: ArtifactStore) -> None:
    assert write(artifacts, publication())
    document = json.loads(artifacts.get(LATEST))
    assert document == {
        "publicationId": "a",
        "issueDate": "2026-11-20",
        "issuedAt": "2026-11-20T03:30:00.000000+00:00",
        "publishedAt": "2026-11-20T03:31:05.250000+00:00",
        "folder": "feeds/2026-11-20/a/",
        "files": [
            {
                "feed": "siri-et", "operatingDay": "2026-11-20", "path": "siri-et/2026-11-20/f.xml.gz",
                "mediaType": "application/xml", "bytes": 3, "sha256": "f00", "journeys": 1, "calls": 2,
            }
        ],
    }  # fmt: skip
    assert artifacts.get(document["folder"] + "publication.json") == artifacts.get(LATEST)
    assert artifacts.get(document["folder"] + document["files"][0]["path"]) == b"xml"


def test_older_issue_date_never_becomes_latest(artifacts: ArtifactStore) -> None:
    write(artifacts, publication())
    # The older date is published again, later.
    late = publication(DAY - timedelta(1), "b", PUBLISHED_AT + timedelta(hours=5))
    assert not write(artifacts, late)
    assert latest_id(artifacts) == "a"


def test_correction_of_the_same_issue_date_becomes_latest(artifacts: ArtifactStore) -> None:
    write(artifacts, publication())
    correction = publication(publication_id="b", published_at=PUBLISHED_AT + timedelta(milliseconds=1))
    assert write(artifacts, correction)
    assert not write(artifacts, publication()), "a delayed job of the first publication"
    assert latest_id(artifacts) == "b"


def test_correction_of_a_host_with_a_slow_clock_becomes_latest(artifacts: ArtifactStore) -> None:
    write(artifacts, publication())
    correction = publication(publication_id="b", published_at=PUBLISHED_AT - timedelta(hours=1))
    store = FeedFiles(artifacts)
    assert not store.make_latest(correction)
    assert store.make_latest(correction, former=["a"])
    assert latest_id(artifacts) == "b"


def test_repeated_publication_stays_latest(artifacts: ArtifactStore) -> None:
    write(artifacts, publication())
    before = artifacts.get(LATEST)
    assert write(artifacts, publication())
    assert artifacts.get(LATEST) == before


def test_files_of_an_earlier_attempt_are_deleted(artifacts: ArtifactStore) -> None:
    first = publication()
    write(artifacts, first)
    file = replace(first.files[0], path="gtfs-realtime/trip-updates.pb")
    write(artifacts, replace(first, files=(file,)))
    assert artifacts.list(first.folder) == [
        f"{first.folder}gtfs-realtime/trip-updates.pb",
        f"{first.folder}publication.json",
    ]


def test_feeds_of_old_issue_dates_are_deleted(artifacts: ArtifactStore) -> None:
    for age in (3, 2, 1, 0):
        write(artifacts, publication(DAY - timedelta(age), f"id-{age}"))
    artifacts.put("feeds/readme.txt", b"someone else's")
    assert FeedFiles(artifacts).delete_old(keep_days=1) == [DAY - timedelta(3), DAY - timedelta(2)]
    kept = {key.split("/")[1] for key in artifacts.list("feeds/")}
    assert kept == {"2026-11-19", "2026-11-20", "latest.json", "readme.txt"}


def test_nothing_is_deleted_without_a_latest_publication(artifacts: ArtifactStore) -> None:
    store = FeedFiles(artifacts)
    store.put(folder_of(DAY, "a"), "f.xml.gz", b"xml")
    assert store.delete_old(keep_days=0) == []
    assert artifacts.list("feeds/") == ["feeds/2026-11-20/a/f.xml.gz"]


def test_interrupted_publication_is_not_latest(artifacts: ArtifactStore) -> None:
    write(artifacts, publication())
    FeedFiles(artifacts).put(folder_of(DAY + timedelta(1), "b"), "f.xml.gz", b"xml")
    assert latest_id(artifacts) == "a"
