"""Formats an alert, removes secrets from it and sends it to Slack. `sensors/alerts.py` decides what is worth an alert."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import SecretStr

from ruter_dagster.config.settings import Settings

MAX_RETRIES = 2
TIMEOUT_SECONDS = 10
MAX_DETAILS = 1500
"""Characters of the details that a message shows. The UI shows all of them."""
_CREDENTIALS = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_HIDDEN = "(hidden)"


class SlackUnavailable(Exception):
    """Slack did not accept a message. It can be sent again."""


@dataclass(frozen=True)
class Alert:
    """One message.

    `title`: what happened. `details`: error messages or check results, quoted. `links`: text and address of each.
    `remedy`: what to do.
    """

    title: str
    facts: tuple[str, ...]
    details: str
    links: tuple[tuple[str, str], ...]
    remedy: str


def send_alert(alert: Alert, settings: Settings) -> None:
    """Posts one message to the channel in the settings.

    Connection errors and the statuses 429 and 5xx are retried by slack_sdk. Raises SlackUnavailable, with Slack's reason
    and without the token, if Slack still does not accept the message.
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
        retry_handlers=[handler(max_retry_count=MAX_RETRIES) for handler in handlers],
    )
    try:
        client.chat_postMessage(
            channel=settings.slack_channel,
            text=message_text(alert, settings),
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


def message_text(alert: Alert, settings: Settings) -> str:
    """The message in Slack's markup: title, facts, quoted details, links and remedy."""
    details = alert.details
    if len(details) > MAX_DETAILS:
        details = details[: MAX_DETAILS - 2] + " …"
    quoted = "\n".join(f"> {line}" for line in _escape(hide_secrets(details, settings)).splitlines())
    lines = [
        f"*{_escape(alert.title)}*",
        " · ".join(_escape(hide_secrets(fact, settings)) for fact in alert.facts),
        quoted,
        " · ".join(_link(text, address) for text, address in alert.links),
        _escape(alert.remedy),
    ]
    return "\n".join(line for line in lines if line)


def hide_secrets(text: str, settings: Settings) -> str:
    """The text without the secrets of the settings, and without user and password in addresses."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    for value in values:
        if isinstance(value, SecretStr) and value.get_secret_value():
            text = text.replace(value.get_secret_value(), _HIDDEN)
    return _CREDENTIALS.sub(_HIDDEN, text)


def _link(text: str, address: str) -> str:
    """A link in Slack's markup. Slack opens web addresses only, so the path of a file is shown as text."""
    return (
        f"<{address}|{_escape(text)}>"
        if address.startswith("http")
        else f"{_escape(text)}: {_escape(address)}"
    )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
