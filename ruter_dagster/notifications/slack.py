"""Sends an alert to Slack: what a message looks like, and that no secret gets into one. What is worth an alert: sensors/alerts.py."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import SecretStr

from ruter_dagster.config.settings import Settings

ATTEMPTS_AGAIN = 2
TIMEOUT_SECONDS = 10
LONGEST = 1500
"""Characters of a step's own words that a message shows; all of them are in the UI."""
_CREDENTIALS = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_HIDDEN = "(hidden)"


class SlackUnavailable(Exception):
    """Slack did not take a message; it can be sent again."""


@dataclass(frozen=True)
class Alert:
    """What happened, its facts, in whose words, where it is seen (text and address of each), and how to go on."""

    title: str
    facts: tuple[str, ...]
    words: str
    links: tuple[tuple[str, str], ...]
    remedy: str


def send(alert: Alert, settings: Settings) -> None:
    """Posts one message to the settings' channel.

    Connection faults, 429 and 5xx are tried again, as slack_sdk does. Raises SlackUnavailable where Slack still does
    not take it, with Slack's word for it; the token is in neither.
    """
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError
    from slack_sdk.http_retry.builtin_handlers import (
        ConnectionErrorRetryHandler,
        RateLimitErrorRetryHandler,
        ServerErrorRetryHandler,
    )

    handlers = (ConnectionErrorRetryHandler, RateLimitErrorRetryHandler, ServerErrorRetryHandler)
    client = WebClient(
        settings.slack_token.get_secret_value() if settings.slack_token else None,
        base_url=settings.slack_api_url,
        timeout=TIMEOUT_SECONDS,
        retry_handlers=[handler(max_retry_count=ATTEMPTS_AGAIN) for handler in handlers],
    )
    try:
        client.chat_postMessage(
            channel=settings.slack_channel,
            text=text_of(alert, settings),
            unfurl_links=False,
            unfurl_media=False,
        )
    except SlackApiError as error:
        raise SlackUnavailable(
            f"Slack refused the alert to {settings.slack_channel} ({error.response.get('error', error.response.status_code)}); "
            "check RUTER_SLACK_TOKEN and RUTER_SLACK_CHANNEL"
        ) from None
    except OSError as error:
        raise SlackUnavailable(f"Slack does not answer at {settings.slack_api_url} ({error})") from None


def text_of(alert: Alert, settings: Settings) -> str:
    """The message in Slack's markup: title, facts, the words quoted, the links and the remedy."""
    words = alert.words if len(alert.words) <= LONGEST else alert.words[: LONGEST - 2] + " …"
    quoted = "\n".join(f"> {line}" for line in _escape(without_secrets(words, settings)).splitlines())
    lines = [
        f"*{_escape(alert.title)}*",
        " · ".join(_escape(without_secrets(fact, settings)) for fact in alert.facts),
        quoted,
        " · ".join(_link(text, address) for text, address in alert.links),
        _escape(alert.remedy),
    ]
    return "\n".join(line for line in lines if line)


def without_secrets(text: str, settings: Settings) -> str:
    """The text without the settings' secrets, and without the user and password of any address in it."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    for secret in values:
        if isinstance(secret, SecretStr) and secret.get_secret_value():
            text = text.replace(secret.get_secret_value(), _HIDDEN)
    return _CREDENTIALS.sub(_HIDDEN, text)


def _link(text: str, address: str) -> str:
    """Slack opens web addresses only; the place of a file is shown as it is."""
    return (
        f"<{address}|{_escape(text)}>"
        if address.startswith("http")
        else f"{_escape(text)}: {_escape(address)}"
    )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
