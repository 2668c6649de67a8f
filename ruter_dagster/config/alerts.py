"""Settings of alerts: what is a problem, and where messages go. `sensors/alerts.py` uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from ruter_dagster.config.sagemaker import NameList, parse_pairs
from ruter_dagster.contracts.alerts import KINDS, Kind

TIME_OF_DAY = r"^([01]\d|2[0-3]):[0-5]\d$"
Hours = Annotated[float, Field(gt=0)]


class AlertSettings(BaseSettings):
    """Slack, e-mail and Amazon SNS, and the limits beyond which an alert is sent."""

    slack_token: SecretStr | None = Field(
        None, description="Token of a Slack bot with the scope chat:write. Without it, no alert goes to Slack"
    )
    slack_channel: str = Field(
        "#ruter-dagster", description="Channel of alerts, by name or id; the bot must be a member"
    )
    slack_channels: Annotated[dict[Kind, str], NoDecode] = Field(
        default_factory=dict,
        description="Other channels by kind of alert, for instance drift=#models,late_data=#data. docs/alerts.md lists the kinds",
    )
    slack_api_url: str = Field(
        "https://slack.com/api/", description="Address of Slack's API; change it for a proxy or a test double"
    )
    smtp_host: str | None = Field(
        None, description="Mail server that sends alerts. Without it, no alert goes by e-mail"
    )
    smtp_port: int = Field(587, ge=1, le=65535, description="Port of the mail server")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls",
        description="Encryption of the connection to the mail server: after STARTTLS, from the start (usually port 465), or none",
    )
    smtp_ca_location: Path | None = Field(
        None, description="File of the mail server's certificate authority, if the system does not know it"
    )
    smtp_user: str | None = Field(None, description="User of the mail server; it also needs the password")
    smtp_password: SecretStr | None = Field(None, description="Password of the mail server; never printed")
    email_from: str | None = Field(None, pattern=r"^\S+@\S+$", description="Sender of e-mails")
    email_to: NameList = Field((), description="Receivers of e-mails, separated by commas")
    alerts_topic: str | None = Field(
        None,
        pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+$",
        description="ARN of a topic of Amazon SNS that gets every alert. Its subscribers get e-mails",
    )
    dagster_url: str = Field(
        "http://127.0.0.1:3000", description="Address of Dagster's UI, for links in alerts"
    )
    alert_quiet_minutes: float = Field(
        10,
        ge=0,
        description="Minutes for which a problem must be over before its alert is resolved. If it returns earlier, no message is sent",
    )
    data_by: str = Field(
        "07:00",
        pattern=TIME_OF_DAY.replace("^", "^(off|").replace("$", ")$"),
        description="Local time by which the counts of the day before must be read, HH:MM. Later, they are late. "
        "`off` for a source that delivers days later",
    )
    freshness_hours: Annotated[dict[str, Hours], NoDecode] = Field(
        default_factory=lambda: {"features/departure_features": 30.0, "forecasts/published_forecasts": 30.0},
        description="Most hours since the last materialisation, by asset, for instance forecasts/published_forecasts=30. "
        "Default: 30 for features/departure_features and forecasts/published_forecasts",
    )
    backlog_runs: int = Field(50, ge=1, description="Most runs that may wait in the queue without an alert")
    backlog_minutes: int = Field(
        120, ge=1, description="Most minutes that a run may wait in the queue without an alert"
    )

    @field_validator("slack_channels", "freshness_hours", mode="before")
    @classmethod
    def _parse_alert_pairs(cls, value: Any, info: Any) -> Any:
        example = (
            "kind=channel,kind=channel" if info.field_name == "slack_channels" else "asset=hours,asset=hours"
        )
        pairs = parse_pairs(value, example) if isinstance(value, str) else value
        unknown = [kind for kind in pairs if kind not in KINDS] if info.field_name == "slack_channels" else []
        if unknown:
            raise ValueError(f"unknown kind {unknown[0]}; allowed: {', '.join(KINDS)}")
        return pairs

    @field_validator("email_to", mode="before")
    @classmethod
    def _split_receivers(cls, value: Any) -> Any:
        names = (
            tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else tuple(value)
        )
        if wrong := next((name for name in names if "@" not in name or any(map(str.isspace, name))), None):
            raise ValueError(f"{wrong} is no address of e-mail; write it as ops@example.org,team@example.org")
        return names

    @model_validator(mode="after")
    def _check_mail(self) -> AlertSettings:
        if self.smtp_host and not (self.email_from and self.email_to):
            raise ValueError(
                f"RUTER_SMTP_HOST={self.smtp_host} needs RUTER_EMAIL_FROM and RUTER_EMAIL_TO: set them, or unset it"
            )
        if self.smtp_user and not self.smtp_password:
            raise ValueError(
                f"RUTER_SMTP_USER={self.smtp_user} needs RUTER_SMTP_PASSWORD: set it, or put it into the secret"
            )
        if self.smtp_user and self.smtp_security == "none":
            raise ValueError(
                f"RUTER_SMTP_USER={self.smtp_user} with RUTER_SMTP_SECURITY=none would send the password unencrypted; "
                "set RUTER_SMTP_SECURITY to starttls or tls"
            )
        return self
