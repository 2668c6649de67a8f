"""Sends notices by e-mail: through a mail server, or to the subscribers of a topic of Amazon SNS."""

from __future__ import annotations

import smtplib
import ssl
from datetime import tzinfo
from email.message import EmailMessage
from email.utils import format_datetime

from ruter_dagster.aws.clients import client
from ruter_dagster.aws.errors import first_line
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.alerts import Kind
from ruter_dagster.notifications.incidents import Notice
from ruter_dagster.notifications.message import message_of, plain_text
from ruter_dagster.notifications.outbox import Channel, DeliveryFailed, NoticeRefused, PartlyDelivered

TIMEOUT_SECONDS = 10
MAX_SUBJECT = 100
"""Characters of a subject. SNS accepts 100, of ASCII alone."""


class MailServer:
    """Sends every notice to the receivers of the settings, as plain text. Later notices of an incident are replies to its first."""

    name = "e-mail"

    def __init__(self, settings: Settings, zone: tzinfo) -> None:
        self.settings, self.zone = settings, zone

    def accepts(self, kind: Kind) -> bool:
        return True

    def send(self, notice: Notice, thread: str | None) -> str:
        """Sends one e-mail to all receivers. Its Message-ID follows from the notice, so that mail programs show it once.

        Raises `DeliveryFailed`, without the password; `NoticeRefused` if the server refuses the content for good; and
        `PartlyDelivered` if it refuses some of the receivers.
        """
        mail = self._mail(notice, thread)
        address = f"{self.settings.smtp_host}:{self.settings.smtp_port}"
        try:
            with self._connect() as connection:
                refused = connection.send_message(mail)
        except ssl.SSLError as error:
            raise DeliveryFailed(
                f"The mail server {address} has no valid certificate ({error}). Check RUTER_SMTP_SECURITY, and name its certificate "
                "authority with RUTER_SMTP_CA_LOCATION"
            ) from None
        except smtplib.SMTPAuthenticationError as error:
            raise DeliveryFailed(
                f"The mail server {address} refused user or password ({error.smtp_code}); "
                "check RUTER_SMTP_USER and RUTER_SMTP_PASSWORD"
            ) from None
        except smtplib.SMTPDataError as error:
            is_final = error.smtp_code >= 500
            raise (NoticeRefused if is_final else DeliveryFailed)(
                f"The mail server {address} refused the content of the alert {notice.id} ({_answer(error.smtp_code, error.smtp_error)}); "
                "check its limits and filters"
            ) from None
        except smtplib.SMTPException as error:
            raise DeliveryFailed(
                f"The mail server {address} refused the alert ({error}); check RUTER_SMTP_SECURITY, RUTER_EMAIL_FROM and RUTER_EMAIL_TO"
            ) from None
        except OSError as error:
            raise DeliveryFailed(
                f"The mail server {address} does not answer ({error}); check RUTER_SMTP_HOST and RUTER_SMTP_PORT"
            ) from None
        if refused:
            receivers = ", ".join(f"{receiver} ({_answer(*answer)})" for receiver, answer in refused.items())
            raise PartlyDelivered(
                thread or mail["Message-ID"],
                f"The mail server {address} refused receivers of the alert {notice.id}: {receivers}; check RUTER_EMAIL_TO",
            )
        return thread or mail["Message-ID"]

    def _mail(self, notice: Notice, thread: str | None) -> EmailMessage:
        message = message_of(notice, self.settings.environment, self.zone)
        sender = self.settings.email_from or ""
        mail = EmailMessage()
        mail["Subject"] = _subject(message.title, self.settings)
        mail["From"], mail["To"] = sender, ", ".join(self.settings.email_to)
        mail["Date"] = format_datetime(notice.at)
        mail["Message-ID"] = f"<{notice.id}@{sender.rpartition('@')[2].strip('>')}>"
        mail["Auto-Submitted"] = "auto-generated"
        if thread:
            mail["In-Reply-To"] = mail["References"] = thread
        mail.set_content(plain_text(message))
        return mail

    def _connect(self) -> smtplib.SMTP:
        """A connection, encrypted and logged in as the settings say. The caller closes it."""
        settings, host, port = self.settings, self.settings.smtp_host or "", self.settings.smtp_port
        if settings.smtp_security == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                host, port, timeout=TIMEOUT_SECONDS, context=self._certificates()
            )
        else:
            connection = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
        try:
            if settings.smtp_security == "starttls":
                connection.starttls(context=self._certificates())
            if settings.smtp_user and settings.smtp_password:
                connection.login(settings.smtp_user, settings.smtp_password.get_secret_value())
        except BaseException:
            connection.close()
            raise
        return connection

    def _certificates(self) -> ssl.SSLContext:
        file = self.settings.smtp_ca_location
        return ssl.create_default_context(cafile=str(file) if file else None)


class Topic:
    """Publishes every notice to a topic of Amazon SNS, whose subscribers get e-mails. SNS may deliver a notice twice."""

    name = "sns"

    def __init__(self, settings: Settings, zone: tzinfo) -> None:
        self.settings, self.zone = settings, zone

    def accepts(self, kind: Kind) -> bool:
        return True

    def send(self, notice: Notice, thread: str | None) -> str:
        """Publishes one message, with the notice's id, kind, action and severity as attributes. Raises `DeliveryFailed`."""
        from botocore.exceptions import BotoCoreError, ClientError

        message = message_of(notice, self.settings.environment, self.zone)
        attributes = {
            "notice": notice.id,
            "incident": notice.incident_id,
            "kind": notice.problem.kind,
            "action": notice.action,
            "severity": notice.problem.severity.name.lower(),
        }
        try:
            sns = client("sns", self.settings.aws_region, max_attempts=2, timeout=TIMEOUT_SECONDS)
            sns.publish(
                TopicArn=self.settings.alerts_topic,
                Subject=_subject(message.title, self.settings).encode("ascii", "replace").decode(),
                Message=plain_text(message),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                },
            )
        except (BotoCoreError, ClientError) as error:
            raise DeliveryFailed(
                f"SNS refused the alert to {self.settings.alerts_topic} ({first_line(error)}); check RUTER_ALERTS_TOPIC, AWS_REGION "
                "and the permission sns:Publish"
            ) from None
        return thread or notice.incident_id


def email_channels(settings: Settings, zone: tzinfo) -> list[Channel]:
    """The mail server and the topic, as far as the settings name them."""
    channels: list[Channel] = []
    if settings.smtp_host:
        channels.append(MailServer(settings, zone))
    if settings.alerts_topic:
        channels.append(Topic(settings, zone))
    return channels


def _answer(code: int, text: bytes | str) -> str:
    """A server's answer in one line."""
    return f"{code} {text.decode(errors='replace') if isinstance(text, bytes) else text}".replace("\n", " ")


def _subject(title: str, settings: Settings) -> str:
    subject = " ".join(f"[ruter-dagster {settings.environment}] {title}".split())
    return subject if len(subject) <= MAX_SUBJECT else subject[: MAX_SUBJECT - 3] + "..."
