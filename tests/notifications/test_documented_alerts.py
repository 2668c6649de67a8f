"""docs/alerts.md and docs/quality.md: their example messages look as messages are sent, and their faults raise an alert."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from ruter_dagster.config.demo_faults import FAULT_KINDS, parse_faults
from ruter_dagster.config.settings import DEMO_ISSUE_DATE, load_settings
from ruter_dagster.notifications.drift_problems import drift_problems
from ruter_dagster.notifications.email import MailServer
from ruter_dagster.notifications.incidents import Action, Notice, Problem, Severity
from ruter_dagster.notifications.message import message_of
from ruter_dagster.notifications.slack import blocks_of
from tests.slack_stub import block_texts

DOCS = Path(__file__).parents[2] / "docs"
ALERTS, QUALITY = (DOCS / "alerts.md").read_text(), (DOCS / "quality.md").read_text()
EXAMPLES = [text for _, text in re.findall(r"^(`{3,4})text\n(.*?)^\1$", ALERTS, re.MULTILINE | re.DOTALL)]
MAIL, FAILURE, END = EXAMPLES
"""The e-mail about drift, and the two Slack messages about a failed run."""
ZONE = ZoneInfo("Europe/Oslo")
NEWEST_MEASURED = DEMO_ISSUE_DATE - timedelta(1)
SINCE = datetime(2026, 11, 30, 20, 11, tzinfo=UTC)


def test_example_of_an_email_is_what_is_sent() -> None:
    row = {
        "operating_date": "2026-11-19", "metric": "passenger_level", "scope": "tram", "verdict": "warn",
        "value": 0.544, "warn": 0.65, "act": None,
    }  # fmt: skip
    (problem,), _ = drift_problems([row], ZONE)
    link = ("Drift checks", "http://127.0.0.1:3000/assets/monitoring/drift?view=checks")
    problem = problem.model_copy(update={"links": (link,)})
    incident = "3250cad16c6e4a91"
    settings = load_settings(
        _env_file=None, smtp_host="127.0.0.1", email_from="a@example.org", email_to="b@example.org"
    )
    notice = Notice(id=f"{incident}-1", incident_id=incident, action="raised", problem=problem, at=SINCE)
    mail = MailServer(settings, ZONE)._mail(notice, None)
    assert f"Subject: {mail['Subject']}\n\n{mail.get_content()}" == MAIL


def _slack(action: Action) -> str:
    """The Slack message of the failed run, its blocks one below the other."""
    run = "5806ec30-6d26-4af2-8fae-a572a33624ed"
    error = re.findall(r"^> (.*)$", FAILURE, re.MULTILINE)[0]
    affected = FAILURE.partition("*Affected*\n")[2].partition("\n\n")[0]
    problem = Problem(
        kind="run_failure", subject="raw/stop_visits 2026-11-19", severity=Severity.ERROR,
        title="Run failed: raw/stop_visits 2026-11-19", since=SINCE, affected=tuple(affected.splitlines()),
        details=error, log=f"20:11:15 ERROR {error}",
        links=((f"Run {run[:8]}", f"http://127.0.0.1:3000/runs/{run}"),),
        remedy=f"Fix the cause, then continue from the failed step: `ruter-dagster retry {run}`",
    )  # fmt: skip
    notice = Notice(
        id="1", incident_id="bf835a6e12de28e6", action=action, problem=problem, at=SINCE,
        ended_at=SINCE + timedelta(seconds=34), reason="raw/stop_visits 2026-11-19 succeeded in run b92a0704",
    )  # fmt: skip
    blocks = blocks_of(message_of(notice, "local", ZONE), notice)
    return "\n\n".join(block_texts({"blocks": blocks})) + "\n"


def test_examples_of_slack_are_what_is_sent() -> None:
    assert _slack("raised") == FAILURE
    assert _slack("resolved") == END


def test_documented_faults_include_the_newest_measured_date() -> None:
    texts = re.findall(r"RUTER_DEMO_FAULTS=(\S+)", QUALITY)
    assert len(texts) == 2
    assert all(fault.includes(NEWEST_MEASURED) for text in texts for fault in parse_faults(text))


def test_page_lists_every_fault() -> None:
    table = QUALITY.partition("| kind | subject | without a subject |")[2]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(FAULT_KINDS)
