"""Partitions end today, or with the dates that a demo on a laptop fills."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import load_settings
from ruter_dagster.orchestration.partitions import Partitions, partitions_of
from tests.partition_time import partitions_as_of

TODAY = date(2026, 11, 30)


def partitions(**settings: Any) -> Partitions:
    loaded = load_settings(_env_file=None, **settings)
    with partitions_as_of(TODAY):
        return partitions_of(loaded, operator_of(loaded))


def bounds(definition: Any) -> tuple[str, str]:
    with partitions_as_of(TODAY):
        return definition.get_first_partition_key(), definition.get_last_partition_key()


def test_demo_partitions_are_the_dates_that_it_fills() -> None:
    demo = partitions(issue_date="2026-11-10", history_days=49)
    assert bounds(demo.operating) == ("2026-09-22", "2026-11-09")
    assert bounds(demo.issue) == ("2026-09-22", "2026-11-10")
    assert bounds(demo.planned) == ("2026-09-22", "2026-11-13")


@pytest.mark.parametrize(
    "settings",
    [
        {"environment": "test", "launcher": "local"},
        {"issue_date": "2026-12-10"},
        {"issue_date": "2026-05-10"},
        {"history_days": 400},
    ],
    ids=["deployment", "issue date in the future", "issue date before the history", "history too long"],
)
def test_other_partitions_reach_today(settings: dict[str, Any]) -> None:
    assert bounds(partitions(**settings).issue) == ("2026-06-01", str(TODAY))
