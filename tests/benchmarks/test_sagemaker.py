"""The parts of the benchmark of SageMaker jobs, on jobs of a second: what it counts, not how long anything takes."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.sagemaker import Runners, on_double
from benchmarks.sagemaker_figures import Measured, goals, rows, shown_lines
from benchmarks.sagemaker_work import AIRFLOW, CASES, OURS, Case, Lengths, plan_round
from sagemaker_double.control import Remote

pytestmark = pytest.mark.extended

EVENTS = Case(OURS, "Processing", "events", logs=False)
POLLING = Case(OURS, "Training", "polling", logs=True)


def test_jobs_and_printed_lines_are_counted(sagemaker_double: Remote, tmp_path: Path) -> None:
    lengths = Lengths(shortest=1.0, spread=0.0, apart=0.0, interval=0.2)
    works = plan_round(1, 1, lengths, (EVENTS, POLLING))
    events, polling = on_double(works, Runners(tmp_path, None, pace=0.1), sagemaker_double)
    assert (events.case, polling.case) == (EVENTS, POLLING)
    assert events.lag > 0 and events.seconds > 0
    assert events.sqs and not events.logs and not events.once
    assert polling.logs and not polling.sqs
    assert polling.once == polling.written > 1
    assert polling.again == 0
    assert min(events.s3, events.describes, polling.s3, polling.describes) > 0


def test_jobs_take_equally_long_in_every_case() -> None:
    works = plan_round(1, 3, Lengths(linger=30.0))
    assert len({work.token for work in works}) == 3 * len(CASES)
    for index in range(3):
        ((seconds, linger),) = {(work.seconds, work.linger) for work in works if work.index == index}
        assert 180 <= seconds <= 210 and 0 <= linger <= 30
    assert works == plan_round(1, 3, Lengths(linger=30.0))
    assert {work.seconds for work in works}.isdisjoint(work.seconds for work in plan_round(2, 3, Lengths()))


def test_token_names_job_queue_and_access_key() -> None:
    assert all(
        re.fullmatch(r"[a-z0-9](-*[a-z0-9]){0,62}", work.token) for work in plan_round(1, 10, Lengths())
    )


def test_lines_are_counted_among_other_output() -> None:
    output = "r1-a line 0\n2026-01-01 [info] r1-a line 1 [hook]\nother\nr1-a line 1\nr1-a-2 line 0\n"
    assert shown_lines(output) == {"r1-a": Counter({"0": 1, "1": 2}), "r1-a-2": Counter({"0": 1})}


def _figures(**changes: float) -> list[Measured]:
    figures = [
        Measured(
            case,
            0,
            180,
            lag=1,
            describes=6,
            logs=12 if case.logs else 0,
            s3=0,
            sqs=0,
            written=9,
            once=9,
            again=0,
        )
        for case in CASES
    ]
    return [replace(each, **changes) if each.case == POLLING else each for each in figures]


def _missed(**changes: float) -> list[str]:
    return [goal for goal, met, _ in goals(_figures(**changes)) if not met]


def test_a_goal_is_missed_by_the_worst_job() -> None:
    assert _missed() == []
    assert _missed(lag=5.1) == ["lag by polling: at most 5 s"]
    assert _missed(describes=7) == ["Describe calls, Training: no more than Airflow's default"]
    assert _missed(logs=13) == ["log calls, Training: no more than Airflow's default"]
    assert _missed(once=8) == _missed(again=1) == ["every log line once"]


def test_a_case_is_a_row() -> None:
    rows_by_runner = {row[:2]: row for row in rows(_figures())}
    assert len(rows_by_runner) == len(CASES)
    row = rows_by_runner["Training, logs on", f"{AIRFLOW}, default"]
    assert row[2:] == ("1.0", "1.0", "6", "12", "0", "0", "6.0", "9 of 9")
