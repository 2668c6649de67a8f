"""When AWS is asked of a running job: after events, and while it throttles."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dagster_sagemaker_tests.conftest import messages, processing
from dagster_sagemaker_tests.fake_aws import THROTTLED, completes, fails, forever


class EventAt:
    """Tells once of every job, at that time, ended or not."""

    def __init__(self, runner, seconds, *, repeated=False):
        self.runner, self.seconds, self.repeated = runner, seconds, repeated
        self.told = set()

    def ended(self, names):
        if self.runner.aws.now < self.seconds:
            return []
        new = [name for name in names if self.repeated or name not in self.told]
        self.told |= set(names)
        return new


def describes(runner):
    return [time for time, call in runner.aws.log if call == "describe"]


@pytest.mark.parametrize(("lag", "late"), [(0.5, 2), (3, 4), (10, 32)])
def test_event_before_describe_reports_the_end_is_kept(runner, lag, late):
    runner.aws.scripts = [fails("AlgorithmError: x, exit code: 1", after=200 + lag)]
    runner.failure(job_ends=EventAt(runner, 200))
    assert runner.returned_at - (200 + lag) <= late


def test_last_message_after_the_event_does_not_delay_describe(runner):
    runner.aws.scripts = [completes(run=180, tail=0.5)]
    assert runner.run(job_ends=EventAt(runner, 179)).success
    assert runner.returned_at - 180.5 <= 6


def test_event_of_a_running_job_costs_few_describes(runner):
    runner.aws.scripts = [completes(run=3000)]
    assert runner.run(job_ends=EventAt(runner, 200)).success
    after = [time for time in describes(runner) if 200 <= time < 3000]
    assert len([time for time in after if time < 290]) <= 5 + 1
    assert all(later - earlier >= 89 for earlier, later in pairwise(after[6:]))


def test_event_triggers_one_extra_describe_while_throttled(runner):
    runner.aws.scripts = [forever]
    runner.aws.at(199, lambda: runner.aws.faults.update(describe=[THROTTLED] * 10_000))
    runner.failure(job_ends=EventAt(runner, 200))
    times = [time for time in describes(runner) if time >= 200]
    assert times[0] <= 202
    assert all(later - earlier >= 60 for earlier, later in zip(times[1:], times[5:], strict=False))


def test_repeated_event_keeps_the_limit_of_describes(runner):
    runner.aws.scripts = [completes(run=600)]
    assert runner.run(job_ends=EventAt(runner, 200, repeated=True)).success
    times = describes(runner)[2:]
    assert all(later - earlier >= 60 for earlier, later in zip(times[1:], times[5:], strict=False))


def test_logs_throttled_for_hours_warn_and_fail_nothing(runner):
    runner.aws.scripts = [completes(run=4 * 3600)]
    throttled = {"log_streams": [THROTTLED] * 10_000, "log_events": [THROTTLED] * 10_000}
    runner.aws.at(20, lambda: runner.aws.faults.update(throttled))
    result = runner.run(processing(max_runtime_seconds=8 * 3600), follow_logs=True)
    assert result.success
    told = messages(result, runner.instance)
    assert told.count("has failed 3 times") <= 2
    assert 1 <= told.count("log lines are delayed") <= 4
    times = [time for time, call in runner.aws.log if call.startswith("log_") and 600 < time < 4 * 3600]
    assert all(later - earlier >= 30 for earlier, later in pairwise(times))


def test_logs_are_complete_after_hours_without_answers(runner, capfd):
    def script(aws, job):
        completes(run=3 * 3600)(aws, job)
        aws.at(30, lambda: aws.say(job, "early"))
        aws.at(3 * 3600 - 1, lambda: aws.say(job, "late"))

    runner.aws.scripts = [script]
    runner.aws.at(20, lambda: runner.aws.faults.update(log_streams=[THROTTLED] * 10_000))
    runner.aws.at(3 * 3600, runner.aws.faults.clear)
    assert runner.run(processing(max_runtime_seconds=8 * 3600), follow_logs=True).success
    assert [line for line in capfd.readouterr().out.splitlines() if line in ("early", "late")] == [
        "early",
        "late",
    ]
