"""Random histories keep the rules of `histories.py`: one job where one is right, none left running, no result lost or doubled."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from dagster_sagemaker_tests.histories import Phase, Script, World

QUICK, EXTENDED, PARTS = 300, 2_500, 4
"""Histories of the fast test, and of each part of the extended one."""

SECONDS = st.sampled_from([0.2, 3.0, 8.0, 20.0, 60.0, 200.0])
SCRIPTS = st.builds(
    Script,
    ending=st.one_of(
        st.sampled_from(["completed", "forever"]),
        st.sampled_from(["spot restart", "no closed", "capacity", "internal"]),
        st.sampled_from(["algorithm", "person", "timeout", "no spot"]),
    ),
    seconds=st.sampled_from([4.0, 15.0, 70.0, 300.0]),
    unknown_seconds=st.sampled_from([0.0, 0.0, 4.0, 30.0]),
    stop_seconds=st.sampled_from([0.0, 20.0, 90.0]),
)


def words(*allowed: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(allowed), max_size=4).map(tuple)


FAULTS = st.fixed_dictionaries(
    {},
    optional={
        "create": words("throttled", "lost", "lost", "quota", "capacity", "denied"),
        "describe": words("none", "throttled", "denied"),
        "stop": words("throttled", "throttled", "denied"),
        "put": words("throttled"),
        "get": words("throttled"),
        "list": words("throttled"),
    },
)
PHASES = st.builds(
    Phase,
    begin=st.sampled_from(["resume", "resume", "retry", "retry", "again", "beside", "beside"]),
    end=st.sampled_from(
        ["none", "none", "kill", "kill", "evict", "cancel", "force", "crash", "break", "break", "error"]
    ),
    seconds=SECONDS,
    pause=st.sampled_from([0.5, 0.5, 3.0, 20.0, 400.0, 5000.0]),
    image=st.sampled_from(["first", "first", "second"]),
    faults=FAULTS,
)
HISTORIES = given(
    st.builds(
        World,
        scripts=st.lists(SCRIPTS, max_size=6),
        phases=st.lists(PHASES, min_size=1, max_size=5),
        kind=st.sampled_from(["Training", "Processing"]),
        keys=st.sampled_from([("a",), ("a", "b")]),
    )
)
MANNERS = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@settings(max_examples=QUICK, derandomize=True, **MANNERS)
@HISTORIES
def test_histories_keep_the_rules(world: World) -> None:
    world.play()


@pytest.mark.extended
@pytest.mark.parametrize("part", range(PARTS))
def test_many_histories_keep_the_rules(part: int) -> None:
    @seed(part)
    @settings(max_examples=EXTENDED, **MANNERS)
    @HISTORIES
    def check(world: World) -> None:
        world.play()

    check()
