"""Notices go by e-mail over SMTP with encryption and login, and to a topic of SNS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ruter_dagster.config.settings import load_settings
from ruter_dagster.notifications.email import MailServer, Topic, email_channels
from ruter_dagster.notifications.message import message_of, plain_text
from ruter_dagster.notifications.outbox import DeliveryFailed, Outbox, PartlyDelivered, deliver
from tests.mail_server import PASSWORD, USER, Mailbox, mail_server, self_signed_certificate
from tests.notifications.notices import notice
from tests.notifications.test_slack import OSLO

REGION = "eu-north-1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed_certificate(tmp_path_factory.mktemp("certificate"))


def sender(mailbox: Mailbox, **values: Any) -> MailServer:
    defaults = {
        "smtp_host": mailbox.host,
        "smtp_port": mailbox.port,
        "email_from": "dagster@example.org",
        "email_to": "ops@example.org,team@example.org",
        "environment": "test",
    }
    (channel,) = email_channels(load_settings(_env_file=None, **defaults | values), OSLO)
    assert isinstance(channel, MailServer)
    return channel


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_is_sent_encrypted_after_login(certificate: Path, security: str) -> None:
    with mail_server(certificate, tls=security == "tls", login=True) as mailbox:
        values = {"smtp_security": security, "smtp_ca_location": certificate}
        sender(mailbox, smtp_user=USER, smtp_password=PASSWORD, **values).send(notice(), None)
    (mail,) = mailbox.mails
    assert mailbox.receivers == [["ops@example.org", "team@example.org"]]
    assert mailbox.encrypted == [True]
    assert mail["Subject"] == "[ruter-dagster test] Run failed: counts 2026-03-29"
    assert mail["From"] == "dagster@example.org"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines() == plain_text(message_of(notice(), "test", OSLO)).splitlines()


def test_later_mail_is_a_reply_with_an_id_of_its_own() -> None:
    with mail_server() as mailbox:
        channel = sender(mailbox, smtp_security="none")
        thread = channel.send(notice(), None)
        channel.send(notice("resolved", number=2), thread)
        channel.send(notice("resolved", number=2), thread)
    first, reply, repeated = mailbox.mails
    assert reply["In-Reply-To"] == reply["References"] == first["Message-ID"] == "<abc-1@example.org>"
    assert reply["Subject"] == "[ruter-dagster test] Resolved: Run failed: counts 2026-03-29"
    assert repeated["Message-ID"] == reply["Message-ID"] == "<abc-2@example.org>"


def test_long_title_with_line_breaks_is_one_short_subject() -> None:
    with mail_server() as mailbox:
        sender(mailbox, smtp_security="none").send(
            notice(title="Kjøring feilet\nBcc: x@example.org " * 20), None
        )
    (mail,) = mailbox.mails
    assert len(mail["Subject"]) == 100
    assert mail["Bcc"] is None


def test_unknown_certificate_is_refused_with_remedy(certificate: Path) -> None:
    with mail_server(certificate) as mailbox, pytest.raises(DeliveryFailed, match="RUTER_SMTP_CA_LOCATION"):
        sender(mailbox).send(notice(), None)
    assert not mailbox.mails


def test_server_without_starttls_gets_no_mail() -> None:
    with mail_server() as mailbox, pytest.raises(DeliveryFailed, match="RUTER_SMTP_SECURITY"):
        sender(mailbox).send(notice(), None)
    assert not mailbox.mails


def test_wrong_password_is_reported_without_it(certificate: Path) -> None:
    with mail_server(certificate, login=True) as mailbox, pytest.raises(DeliveryFailed) as refusal:
        sender(mailbox, smtp_user=USER, smtp_password="wrong-one", smtp_ca_location=certificate).send(
            notice(), None
        )
    assert "check RUTER_SMTP_USER and RUTER_SMTP_PASSWORD" in str(refusal.value)
    assert "wrong-one" not in str(refusal.value)


def test_unknown_receiver_is_reported_and_others_get_the_mail() -> None:
    with mail_server() as mailbox:
        mailbox.refused = "team@example.org"
        with pytest.raises(
            PartlyDelivered, match=r"team@example.org \(550 no such user\); check RUTER_EMAIL_TO"
        ):
            sender(mailbox, smtp_security="none").send(notice(), None)
        channel = sender(mailbox, smtp_security="none")
        delivery = deliver(Outbox().with_notices([notice()], [channel]), [channel], lambda outbox: None)
    assert mailbox.receivers == [["ops@example.org"]] * 2
    assert delivery.outbox.is_empty() and not delivery.failures
    assert "team@example.org" in delivery.missed[0]


def test_mail_with_refused_content_is_sent_without_it() -> None:
    with mail_server() as mailbox:
        mailbox.refused_word = "No space left"
        channel = sender(mailbox, smtp_security="none")
        outbox = Outbox().with_notices([notice(), notice(incident="other", details="")], [channel])
        delivery = deliver(outbox, [channel], lambda outbox: None)
    short, other = mailbox.mails
    assert short["Subject"] == other["Subject"] == "[ruter-dagster test] Run failed: counts 2026-03-29"
    assert "554 Transaction failed" in short.get_content()
    assert delivery.outbox.is_empty() and not delivery.failures


def test_mail_server_that_does_not_answer_is_named() -> None:
    with mail_server() as mailbox:
        channel = sender(mailbox)
    with pytest.raises(DeliveryFailed, match=f"localhost:{mailbox.port} does not answer"):
        channel.send(notice(), None)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Topic, Any]]:
    """A topic of SNS, and a queue that gets its messages."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "tests")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        sns, sqs = (boto3.client(service, region_name=REGION) for service in ("sns", "sqs"))
        arn = sns.create_topic(Name="alarms")["TopicArn"]
        queue = sqs.create_queue(QueueName="alarms")["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
        sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=attributes["QueueArn"])
        settings = load_settings(_env_file=None, alerts_topic=arn, AWS_REGION=REGION, environment="test")
        (channel,) = email_channels(settings, OSLO)
        assert isinstance(channel, Topic)
        yield channel, lambda: sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])


def test_topic_gets_subject_text_and_attributes(topic: tuple[Topic, Any]) -> None:
    channel, receive = topic
    channel.send(notice(title="Kjøring feilet"), None)
    (message,) = receive()
    published = json.loads(message["Body"])
    assert published["Subject"] == "[ruter-dagster test] Kj?ring feilet"
    assert published["Message"].startswith("Kjøring feilet\n\nSince:\n  2026-03-29 06:30 CEST")
    values = {name: attribute["Value"] for name, attribute in published["MessageAttributes"].items()}
    assert values == {
        "notice": "abc-1",
        "incident": "abc",
        "kind": "run_failure",
        "action": "raised",
        "severity": "error",
    }


def test_missing_topic_is_reported_with_settings(topic: tuple[Topic, Any]) -> None:
    settings = load_settings(
        _env_file=None, alerts_topic=f"arn:aws:sns:{REGION}:123456789012:gone", AWS_REGION=REGION
    )
    with pytest.raises(DeliveryFailed, match="RUTER_ALERTS_TOPIC"):
        Topic(settings, OSLO).send(notice(), None)
