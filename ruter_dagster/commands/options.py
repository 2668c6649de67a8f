"""What the commands share: the type of dates, and the settings with the operator in use."""

from __future__ import annotations

import click

from ruter_dagster.config.operator import describe_operator
from ruter_dagster.config.settings import Settings, load_settings

DATE = click.DateTime(["%Y-%m-%d"])


def loaded_settings() -> Settings:
    """Loads the settings and prints the operator in use, so that a wrong operator is noticed at once."""
    settings = load_settings()
    click.echo(describe_operator(settings), err=True)
    return settings
