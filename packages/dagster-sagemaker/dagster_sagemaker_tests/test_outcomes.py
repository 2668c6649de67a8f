"""What Describe's answer says of a job's end."""

from __future__ import annotations

import pytest

from dagster_sagemaker.outcomes import Ending, outcome


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
    ],
)
def test_exit_code_is_the_containers_and_not_from_its_message(answer, code):
    ended = outcome(answer, 60)
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
def test_the_jobs_own_words_do_not_pass_for_sagemakers(words):
    failed = {"FailureReason": f"AlgorithmError: {words}, exit code: 65", "TrainingJobStatus": "Failed"}
    see_logs = "AlgorithmError: See job logs for more information, exit code: 65"
    of_processing = {"FailureReason": see_logs, "ExitMessage": words, "ProcessingJobStatus": "Failed"}
    for answer in (failed, of_processing):
        ended = outcome(answer, 60)
        assert ended
        assert (ended.ending, ended.exit_code) == (Ending.ALGORITHM, 65)


def test_stopped_job_is_not_taken_for_a_timeout():
    answer = {"ProcessingJobStatus": "Stopped", "ExitMessage": "MaxRuntimeExceeded of the workgroup"}
    ended = outcome(answer, 60)
    assert ended and ended.ending is Ending.STOPPED
