"""The publish job says what became of each issue date."""

from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.contracts.jobs import Publish
from ruter_dagster.contracts.tables import LOAD_FORECASTS
from ruter_dagster.jobs import publish
from ruter_dagster.publishing.kafka import PublicationResult
from tests.jobs.demo_jobs import context_of
from tests.publishing.samples import ISSUE_DATE, load_forecasts

PUBLISHED_AT = datetime(2026, 11, 20, 4, 31, 7, tzinfo=UTC)


@pytest.mark.parametrize("published_at", [None, PUBLISHED_AT], ids=["first", "repeated"])
def test_a_repeated_publication_says_when_it_was_published(
    published_at: datetime | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = context_of(Publish(dates=(ISSUE_DATE,), issued_at="04:30"), tmp_path)
    written = context.store.write(LOAD_FORECASTS, load_forecasts(2), [ISSUE_DATE], code_version="1")
    result = PublicationResult("an-id", 2, published_at is not None, ("topic",), 0.0, published_at)
    monkeypatch.setattr(publish, "open_cluster_connection", lambda _: nullcontext())
    monkeypatch.setattr(publish, "ensure_topics", lambda _: None)
    monkeypatch.setattr(publish, "publish", lambda *_, **__: result)
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(
        type(context.report), "materialised", lambda _, asset, **metadata: reports.append(metadata)
    )

    with caplog.at_level("INFO", "ruter_dagster.jobs"):
        publish.run(context.parameters, context)  # pyright: ignore[reportArgumentType]

    outcome = f"{ISSUE_DATE}: published"
    if published_at:
        version = written.hashes[ISSUE_DATE]
        outcome = (
            f"{ISSUE_DATE}: already published on 2026-11-20 04:31:07 UTC, version {version}; nothing was sent"
        )
    assert reports[0]["outcome"] == outcome
    assert caplog.messages[-1] == f"Forecasts of {outcome}"
