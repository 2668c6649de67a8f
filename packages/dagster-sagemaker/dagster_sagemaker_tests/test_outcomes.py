"""What Describe's answer says of a job's end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dagster_sagemaker.outcomes import Ending, explain, outcome

OLD_WORDING = "AlgorithmError: See job logs for more information"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: no model, exit code: 65"}, 65),
        (
            {
                "TrainingJobStatus": "Failed",
                "FailureReason": "AlgorithmError: RuntimeError: the helper ended with exit code 66, exit code: 1",
            },
            1,
        ),
        (
            {
                "ProcessingJobStatus": "Failed",
                "FailureReason": "AlgorithmError: See job logs for more information, exit code: 1",
                "ExitMessage": "the helper ended with exit code 66",
            },
            1,
        ),
        ({"TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: killed, exit code: -9"}, -9),
        ({"TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: no model"}, None),
        (
            {
                "ProcessingJobStatus": "Failed",
                "FailureReason": OLD_WORDING,
                "ExitMessage": "the helper ended with exit code: 66",
            },
            None,
        ),
    ],
)
def test_exit_code_in_the_message_of_the_job_is_ignored(answer, code):
    ended = outcome(answer)
    assert ended
    assert (ended.ending, ended.exit_code) == (Ending.ALGORITHM, code)


@pytest.mark.parametrize(
    "words",
    [
        "RuntimeError: InsufficientInstanceCapacity when calling RunInstances",
        "CapacityError: the queue is full",
        "the query ended by MaxRuntimeExceeded of its workgroup",
        "the child said Out of Memory. Please use a larger instance",
        "InternalServerError of the warehouse",
    ],
)
def test_message_of_the_job_is_not_mistaken_for_sagemakers(words):
    failed = {"FailureReason": f"AlgorithmError: {words}, exit code: 65", "TrainingJobStatus": "Failed"}
    see_logs = "AlgorithmError: See job logs for more information, exit code: 65"
    of_processing = {"FailureReason": see_logs, "ExitMessage": words, "ProcessingJobStatus": "Failed"}
    for answer in (failed, of_processing):
        ended = outcome(answer)
        assert ended
        assert (ended.ending, ended.exit_code) == (Ending.ALGORITHM, 65)


def test_stopped_job_is_not_taken_for_a_timeout():
    answer = {"ProcessingJobStatus": "Stopped", "ExitMessage": "MaxRuntimeExceeded of the workgroup"}
    ended = outcome(answer)
    assert ended and ended.ending is Ending.STOPPED


@pytest.mark.parametrize("code", [1, 65, 66, 137, 143])
@pytest.mark.parametrize("wording", ["old", "new"])
@pytest.mark.parametrize("kind", ["Processing", "Training"])
def test_exit_code_is_read_from_both_message_formats(kind, wording, code):
    text, end = f"no model\nexit code: {code}", f", exit code: {code}" if wording == "new" else ""
    answer = {f"{kind}JobStatus": "Failed", "FailureReason": f"AlgorithmError: {text}{end}"}
    if kind == "Processing":
        failure = f"AlgorithmError: {end}" if end else OLD_WORDING
        answer |= {"FailureReason": failure, "ExitMessage": text}
    ended = outcome(answer)
    assert ended and (ended.ending, ended.exit_code) == (Ending.ALGORITHM, code)
    assert "no model" in ended.reason and "\n" not in ended.reason


@pytest.mark.parametrize(("limit", "ending"), [(60, Ending.TIMEOUT), (61, Ending.STOPPED)])
def test_timeout_depends_on_the_limit_that_describe_returns(limit, ending):
    start = datetime(2026, 11, 20, tzinfo=UTC)
    answer = {
        "ProcessingJobStatus": "Stopped",
        "StoppingCondition": {"MaxRuntimeInSeconds": limit},
        "ProcessingStartTime": start,
        "ProcessingEndTime": start + timedelta(seconds=60),
    }
    ended = outcome(answer)
    assert ended and ended.ending is ending


def test_failure_without_a_message_refers_to_the_log():
    described = {"ProcessingJobStatus": "Failed", "FailureReason": "AlgorithmError: , exit code: 2"}
    ended = outcome(described)
    assert ended
    assert explain("job", ended, "ml.m5.large") == (
        "Job job failed with exit code 2: it gave no reason. Its last log lines are in the step's compute log"
    )


@pytest.mark.parametrize(("pending", "ending"), [(7200, Ending.CAPACITY), (7100, Ending.STOPPED)])
def test_job_that_pended_too_long_lacks_capacity(pending, ending):
    created = datetime(2026, 11, 20, tzinfo=UTC)
    described = {
        "TrainingJobStatus": "Stopped",
        "StoppingCondition": {"MaxPendingTimeInSeconds": 7200},
        "CreationTime": created,
        "TrainingEndTime": created + timedelta(seconds=pending),
    }
    ended = outcome(described)
    assert ended and ended.ending is ending


def test_processing_job_within_a_second_of_its_limit_has_exceeded_it():
    start = datetime(2026, 11, 20, tzinfo=UTC)
    described = {
        "ProcessingJobStatus": "Stopped",
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "ProcessingStartTime": start,
        "ProcessingEndTime": start + timedelta(seconds=3599.4),
    }
    ended = outcome(described)
    assert ended and ended.ending is Ending.TIMEOUT
