"""A notice becomes one readable Slack message within Slack's limits, and later notices of its incident are replies."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from slack_sdk.models.blocks import Block

from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.notifications.message import message_of
from ruter_dagster.notifications.outbox import DeliveryFailed
from ruter_dagster.notifications.slack import SlackChannel, blocks_of, escaped, slack_channels
from tests.notifications.notices import notice
from tests.slack_stub import TOKEN, SlackStub, block_texts, blocks_fault, running_slack

OSLO = ZoneInfo("Europe/Oslo")


@pytest.fixture
def slack() -> Iterator[SlackStub]:
    with running_slack() as stub:
        yield stub


def settings_for(slack: SlackStub, **more: object) -> Settings:
    values = {"slack_channel": "#loads", "environment": "test"} | more
    return load_settings(_env_file=None, slack_token=TOKEN, slack_api_url=slack.url, **values)


def channel(slack: SlackStub, **more: object) -> SlackChannel:
    return slack_channels(settings_for(slack, **more), OSLO)[0]


def test_message_says_what_since_when_who_and_what_to_do(slack: SlackStub) -> None:
    channel(slack).send(notice(), None)
    (request,) = slack.requests
    assert (request["path"], request["authorization"]) == ("/api/chat.postMessage", f"Bearer {TOKEN}")
    assert (request["channel"], request["text"]) == ("#loads", "Run failed: counts 2026-03-29")
    assert block_texts(request) == [
        ":red_circle: Run failed: counts 2026-03-29",
        "*Since*\n2026-03-29 06:30 CEST",
        "*Affected*\nloads/stop_loads\nforecasts of 2026-03-30",
        "*Details*\n> No space left on device\n> asked for 3 &amp; got &lt;2&gt;",
        "*Last lines of the log*\n```\nreading\nwriting\n```",
        "*What to do*\n`ruter-dagster retry 1a2b3c4d`",
        "<http://dagster.test/runs/1a2b3c4d|Run 1a2b3c4d> · Report: s3://bucket/report.html",
        "test · run_failure · incident abc",
    ]


def test_resolution_is_a_reply_and_marks_first_message(slack: SlackStub) -> None:
    sender = channel(slack)
    thread = sender.send(notice(), None)
    sender.send(notice("resolved", number=2), thread)
    first, reply = slack.messages
    assert reply["thread_ts"] == first["ts"]
    assert block_texts(reply)[1:3] == [
        "*Lasted*\n2 h 10 min, from 2026-03-29 06:30 CEST to 2026-03-29 08:40 CEST",
        "*Why it is over*\ncounts 2026-03-29 succeeded",
    ]
    assert first["text"] == reply["text"] == "Resolved: Run failed: counts 2026-03-29"


def test_worse_problem_is_shown_in_channel_too(slack: SlackStub) -> None:
    sender = channel(slack)
    sender.send(notice("worse", number=2), sender.send(notice(), None))
    assert slack.messages[1]["reply_broadcast"] is True
    assert slack.texts[1] == "Worse: Run failed: counts 2026-03-29"


def test_repeated_delivery_shows_one_message(slack: SlackStub) -> None:
    sender = channel(slack)
    slack.loses_answers = True
    with pytest.raises(DeliveryFailed, match="does not answer"):
        sender.send(notice(), None)
    slack.loses_answers = False
    thread = sender.send(notice(), None)
    assert len(slack.messages) == 1
    assert thread == f"CLOADS/{slack.messages[0]['ts']}"


def test_reply_to_deleted_message_is_a_message_of_its_own(slack: SlackStub) -> None:
    sender = channel(slack)
    thread = sender.send(notice(), None)
    slack.messages.clear()
    sender.send(notice("resolved", number=2), thread)
    assert slack.texts == ["Resolved: Run failed: counts 2026-03-29"]


def test_refused_blocks_are_sent_as_text(slack: SlackStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.slack_stub.MAX_ALL_BLOCKS", 10)
    channel(slack).send(notice(), None)
    (text,) = slack.texts
    assert "What to do:\n  `ruter-dagster retry 1a2b3c4d`" in text


def test_failed_server_is_tried_again_and_busy_one_is_left_to_a_later_tick(slack: SlackStub) -> None:
    slack.answers = [503]
    channel(slack).send(notice(), None)
    assert (len(slack.requests), len(slack.texts)) == (2, 1)
    slack.answers = [429]
    with pytest.raises(DeliveryFailed):
        channel(slack).send(notice(incident="other"), None)
    assert len(slack.requests) == 3


def test_refusal_names_reason_and_settings_without_token(slack: SlackStub) -> None:
    slack.error = "channel_not_found"
    with pytest.raises(DeliveryFailed) as refusal:
        channel(slack).send(notice(), None)
    assert "#loads (channel_not_found)" in str(refusal.value)
    assert "RUTER_SLACK_CHANNEL" in str(refusal.value)
    assert TOKEN not in str(refusal.value)


def test_unreachable_slack_is_reported_with_address() -> None:
    with running_slack() as stub:
        sender = channel(stub)
    with pytest.raises(DeliveryFailed, match=r"does not answer at http://127\.0\.0\.1"):
        sender.send(notice(), None)


def test_kinds_go_to_their_channels(slack: SlackStub) -> None:
    channels = slack_channels(settings_for(slack, slack_channels={"drift": "#models"}), OSLO)
    accepted = {each.name: [kind for kind in ("drift", "backlog") if each.accepts(kind)] for each in channels}
    assert accepted == {"slack #loads": ["backlog"], "slack #models": ["drift"]}


@pytest.mark.parametrize(
    "text", ["x" * 50_000, "&<>" * 20_000, "line & more\n" * 9000, "``` a\n" * 5000, "æøå🚋" * 9000]
)
def test_any_message_is_within_limits_of_slack(text: str) -> None:
    values = {
        "title": text,
        "details": text,
        "log": text,
        "remedy": text,
        "affected": tuple(text[:500] for _ in range(80)),
        "links": tuple((text, f"http://dagster.test/{text[:5000]}") for _ in range(60)),
    }
    for action in ("raised", "worse", "resolved"):
        blocks = blocks_of(message_of(notice(action, **values), "test", OSLO), notice(action, **values))
        assert blocks_fault(blocks) is None
        for block in Block.parse_all(blocks):
            block.validate_json()


def test_log_keeps_its_last_lines() -> None:
    log = "\n".join(f"line {number}" for number in range(1000))
    text = escaped(log, 100, keep_end=True)
    assert text.startswith("… ") and text.endswith("line 999")
    assert len(text) <= 100
