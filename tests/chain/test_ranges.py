"""A range with a date that the source lacks, with one real job per date: the job of the absent date has no other."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ruter_dagster.definitions import build_definitions
from ruter_dagster.orchestration.event_log import content_hashes
from tests.chain.local_chain import Chain
from tests.chain.tides_days import NEW, visits_file

pytestmark = pytest.mark.extended

STEPS = ("raw/stop_visits", "quality/stop_visits", "loads/stop_loads")


def test_every_step_omits_an_absent_date_of_a_range(chain: Chain) -> None:
    days = [NEW + timedelta(ahead) for ahead in range(3)]
    visits_file(chain.tides, days[1]).unlink()
    settings = chain.settings.model_copy(update={"job_days": 1})
    cut = replace(chain, definitions=build_definitions(settings))
    outcome = cut.run("counts", days[0], days[-1], assets=STEPS)
    assert outcome.succeeded, outcome.message
    for asset in STEPS:
        known = set(content_hashes(chain.instance, asset))
        assert known & {str(day) for day in days} == {str(days[0]), str(days[2])}
