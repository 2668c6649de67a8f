"""Settings of the standard feeds. How feeds name an operator belongs in operator.py."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from ruter_dagster.config.sagemaker import NameList
from ruter_dagster.contracts.feeds import DEFAULT_FEEDS, FEED_NAMES, NO_FEEDS


class FeedSettings(BaseSettings):
    """Which feeds each publication has, and how long they are kept."""

    feeds: NameList = Field(
        DEFAULT_FEEDS, description=f"Feeds of each publication: {', '.join(FEED_NAMES)}; or {NO_FEEDS}"
    )
    feeds_keep_days: int = Field(
        7, ge=0, description="Feeds are kept for this many issue dates before the latest one"
    )

    @field_validator("feeds", mode="before")
    @classmethod
    def _parse_feeds(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
        if names == (NO_FEEDS,):
            return names
        unknown = [name for name in names if name not in FEED_NAMES]
        if unknown or not names:
            raise ValueError(f"unknown: {', '.join(unknown)}; allowed: {', '.join(FEED_NAMES)}, or {NO_FEEDS}")  # fmt: skip
        return names

    @property
    def enabled_feeds(self) -> tuple[str, ...]:
        """The names of the feeds that each publication has."""
        return () if self.feeds == (NO_FEEDS,) else self.feeds
