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
def test_the_exit_code_is_the_containers_and_not_one_that_its_words_tell_of(answer, code):
    ended = outcome(answer, 60)
    assert ended
    assert (ended.ending, ended.exit_code) == (Ending.ALGORITHM, code)
