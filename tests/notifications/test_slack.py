"""An alert becomes one readable Slack message without secrets. If Slack does not accept it, the sender raises an error."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.notifications.slack import Alert, SlackUnavailable, message_text, send_alert
from tests.slack_stub import TOKEN, SlackStub, running_slack

ALERT = Alert(
    title="Run failed: counts 2026-11-19 (test)",
    facts=("asset loads/stop_loads",),
    details="No space left on device\nasked for 3 & got <2>",
    links=(("Run 1a2b3c4d", "http://dagster.test/runs/1a2b3c4d"), ("Report", "s3://bucket/report.html")),
    remedy="`ruter-dagster retry 1a2b3c4d`",
)


@pytest.fixture
def slack() -> Iterator[SlackStub]:
    with running_slack() as stub:
        yield stub


def settings_for(slack: SlackStub, **more: object) -> Settings:
    return load_settings(
        _env_file=None, slack_token=TOKEN, slack_api_url=slack.url, slack_channel="#loads", **more
    )


def test_message_is_posted_to_channel_with_token(slack: SlackStub) -> None:
    send_alert(ALERT, settings_for(slack))
    (request,) = slack.requests
    assert request["path"] == "/api/chat.postMessage"
    assert request["authorization"] == f"Bearer {TOKEN}"
    assert request["channel"] == "#loads"
    assert request["text"].splitlines() == [
        "*Run failed: counts 2026-11-19 (test)*",
        "asset loads/stop_loads",
        "> No space left on device",
        "> asked for 3 &amp; got &lt;2&gt;",
        "<http://dagster.test/runs/1a2b3c4d|Run 1a2b3c4d> · Report: s3://bucket/report.html",
        "`ruter-dagster retry 1a2b3c4d`",
    ]


@pytest.mark.parametrize("status", [429, 503])
def test_busy_slack_is_retried(slack: SlackStub, status: int) -> None:
    slack.answers = [status]
    send_alert(ALERT, settings_for(slack))
    assert len(slack.requests) == 2
    assert len(slack.texts) == 1


def test_refusal_names_reason_and_settings_without_token(slack: SlackStub) -> None:
    slack.error = "channel_not_found"
    with pytest.raises(SlackUnavailable) as refusal:
        send_alert(ALERT, settings_for(slack))
    assert "#loads (channel_not_found)" in str(refusal.value)
    assert "RUTER_SLACK_CHANNEL" in str(refusal.value)
    assert TOKEN not in str(refusal.value)


def test_unreachable_slack_is_reported_with_address() -> None:
    with running_slack() as stub:
        settings = settings_for(stub)
    with pytest.raises(SlackUnavailable, match=r"does not answer at http://127\.0\.0\.1"):
        send_alert(ALERT, settings)


def test_message_contains_no_secret(slack: SlackStub) -> None:
    settings = settings_for(slack, kafka_sasl_password="hush-hush")
    details = f"login failed with {TOKEN} and hush-hush at https://someone:pass-word@kafka.test/x"  # checkov:skip=CKV_SECRET_4:an example
    text = message_text(Alert("t", (details,), details, (), ""), settings)
    assert not any(secret in text for secret in (TOKEN, "hush-hush", "someone:pass-word"))
    assert "https://(hidden)@kafka.test/x" in text


def test_long_details_are_cut(slack: SlackStub) -> None:
    text = message_text(Alert("t", (), "x" * 10_000, (), ""), settings_for(slack))
    assert len(text) < 2_000
    assert text.endswith("…")
