"""Sends notices to a Slack channel. The later notices of an incident are replies to its first message."""

from __future__ import annotations

import uuid
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.alerts import Kind
from ruter_dagster.notifications.incidents import Notice, Severity
from ruter_dagster.notifications.message import Message, Part, message_of, plain_text
from ruter_dagster.notifications.outbox import DeliveryFailed, NoticeRefused

if TYPE_CHECKING:
    from slack_sdk import WebClient

MAX_RETRIES = 1
TIMEOUT_SECONDS = 8
MAX_TITLE, MAX_PART, MAX_TEXT = 150, 2000, 3000
"""Characters of a header, of a part, and of a message without blocks. Slack accepts 150, 3,000 and 40,000, and about 13,000 in
all blocks of a message."""
_NAMESPACE = uuid.UUID("5b0c0b43-3a0f-5a55-9f0e-6d5b0f3a7a10")
_UNREADABLE = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long"}
"""Errors of the blocks. The message is sent again as text."""
_UNSENDABLE = _UNREADABLE | {
    "invalid_arguments",
    "invalid_arg_name",
    "invalid_metadata_format",
    "invalid_metadata_schema",
    "metadata_too_large",
    "no_text",
    "too_many_attachments",
    "too_many_contact_cards",
    "invalid_charset",
    "invalid_post_type",
}
"""Errors of one message. Slack accepts others."""
_NO_THREAD = {"thread_not_found", "message_not_found", "cannot_reply_to_message"}
"""Errors of a first message that someone deleted. The reply becomes a message of its own."""


class SlackChannel:
    """One channel of Slack, for the kinds of alerts that the settings send there."""

    def __init__(self, channel: str, settings: Settings, zone: tzinfo) -> None:
        self.channel, self.settings, self.zone = channel, settings, zone
        self.name = f"slack {channel}"

    def accepts(self, kind: Kind) -> bool:
        return self.settings.slack_channels.get(kind, self.settings.slack_channel) == self.channel

    def send(self, notice: Notice, thread: str | None) -> str:
        """Posts the notice. `thread` is the channel's id and the time stamp of the first message.

        A repeated notice has the same `client_msg_id`, by which Slack can recognise it. Raises `DeliveryFailed`, with Slack's
        reason and without the token; `NoticeRefused` if the reason is this message.
        """
        from slack_sdk.errors import SlackApiError

        channel, _, root = (thread or "").partition("/")
        try:
            answer = self._post(notice, channel or self.channel, root or None)
            if root and notice.action == "resolved":
                self._mark_resolved(notice, channel, root)
        except SlackApiError as error:
            is_unsendable = error.response.get("error") in _UNSENDABLE
            failure = NoticeRefused if is_unsendable else DeliveryFailed
            raise failure(self._describe(error.response)) from None
        except OSError as error:
            raise DeliveryFailed(
                f"Slack does not answer at {self.settings.slack_api_url} ({error})"
            ) from None
        return thread or f"{answer.get('channel', self.channel)}/{answer['ts']}"

    def _post(self, notice: Notice, channel: str, root: str | None) -> Any:
        from slack_sdk.errors import SlackApiError

        message = message_of(notice, self.settings.environment, self.zone)
        content: dict[str, Any] = {
            "text": escaped(message.title, MAX_TITLE),
            "blocks": blocks_of(message, notice),
        }
        for _ in range(3):
            try:
                return self._client().chat_postMessage(
                    channel=channel,
                    thread_ts=root,
                    # Only those who follow a thread see its replies.
                    reply_broadcast=True if root and notice.action == "worse" else None,
                    unfurl_links=False,
                    unfurl_media=False,
                    metadata={"event_type": "ruter_dagster_alert", "event_payload": {"notice": notice.id}},
                    client_msg_id=str(uuid.uuid5(_NAMESPACE, f"{self.channel} {notice.id}")),
                    **content,
                )
            except SlackApiError as error:
                reason = error.response.get("error")
                if reason in _UNREADABLE and "blocks" in content:
                    content = {"text": fitted(plain_text(message), MAX_TEXT)}
                elif reason in _NO_THREAD and root:
                    root = None
                else:
                    raise
        raise NoticeRefused(f"Slack refused the alert to {self.channel} in each form")

    def _mark_resolved(self, notice: Notice, channel: str, root: str) -> None:
        """Replaces the first message, so that the channel shows that the incident is over."""
        from slack_sdk.errors import SlackApiError

        message = message_of(notice, self.settings.environment, self.zone)
        try:
            self._client().chat_update(
                channel=channel,
                ts=root,
                text=escaped(message.title, MAX_TITLE),
                blocks=blocks_of(message, notice),
            )
        except SlackApiError as error:
            # A person deleted the message, or the workspace allows no changes. The reply says the same.
            if error.response.get("error") not in {
                "message_not_found",
                "cant_update_message",
                "edit_window_closed",
            }:
                raise

    def _client(self) -> WebClient:
        from slack_sdk import WebClient
        from slack_sdk.http_retry.builtin_handlers import ConnectionErrorRetryHandler, ServerErrorRetryHandler

        # A busy Slack (429) may ask for a longer wait than a tick has: a later tick sends the notice.
        handlers = (ConnectionErrorRetryHandler, ServerErrorRetryHandler)
        token = self.settings.slack_token
        return WebClient(
            token.get_secret_value() if token else None,
            base_url=self.settings.slack_api_url,
            timeout=TIMEOUT_SECONDS,
            retry_handlers=[handler(max_retry_count=MAX_RETRIES) for handler in handlers],
        )

    def _describe(self, response: Any) -> str:
        reason = response.get("error") or response.status_code
        return (
            f"Slack refused the alert to {self.channel} ({reason}); check RUTER_SLACK_TOKEN, RUTER_SLACK_CHANNEL and "
            "RUTER_SLACK_CHANNELS"
        )


def slack_channels(settings: Settings, zone: tzinfo) -> list[SlackChannel]:
    """One channel for each that the settings name; none without a token."""
    if settings.slack_token is None:
        return []
    names = dict.fromkeys([settings.slack_channel, *settings.slack_channels.values()])
    return [SlackChannel(name, settings, zone) for name in names]


def blocks_of(message: Message, notice: Notice) -> list[dict[str, Any]]:
    """The message as blocks of Slack's Block Kit, each within Slack's limits."""
    title = {
        "type": "plain_text",
        "text": fitted(f"{_symbol(notice)} {message.title}", MAX_TITLE),
        "emoji": True,
    }
    blocks: list[dict[str, Any]] = [{"type": "header", "text": title}]
    blocks += [_section(_part_text(part)) for part in message.parts]
    links = [_link(text, address) for text, address in message.links[:10]]
    if links:
        blocks.append(_section(" · ".join(links)))
    blocks.append({"type": "context", "elements": [_markup(escaped(message.footer, MAX_TITLE))]})
    return blocks


def _symbol(notice: Notice) -> str:
    if notice.action == "resolved":
        return ":large_green_circle:"
    return ":red_circle:" if notice.problem.severity is Severity.ERROR else ":large_yellow_circle:"


def _part_text(part: Part) -> str:
    # Details begin with the cause, a log ends with it.
    text = escaped(part.text, MAX_PART, keep_end=part.style == "code")
    if part.style == "code":
        text = "```\n" + text.replace("```", "'''") + "\n```"
    elif part.style == "quote":
        text = "\n".join(f"> {line}" for line in text.splitlines()[:50])
    return f"*{part.heading}*\n{text}"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _markup(text)}


def _markup(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


def _link(text: str, address: str) -> str:
    """A link in Slack's markup. Slack opens web addresses only, so the path of a file is shown as text."""
    text = escaped(text, 75)
    if address.startswith("http") and len(address) <= 300 and not set(address) & set("|<> "):
        return f"<{address}|{text}>"
    return f"{text}: {escaped(address, 200)}"


def escaped(text: str, limit: int, *, keep_end: bool = False) -> str:
    """The text with Slack's control characters escaped, cut to `limit` characters."""
    length = limit
    while len(result := _escape(fitted(text, length, keep_end=keep_end))) > limit:
        length = length * 9 // 10
    return result


def fitted(text: str, limit: int, *, keep_end: bool = False) -> str:
    """The text, cut to `limit` characters. An ellipsis shows where it was cut: at its end, or at its beginning if `keep_end`."""
    if len(text) <= limit:
        return text
    return "… " + text[len(text) - limit + 2 :] if keep_end else text[: limit - 2] + " …"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
