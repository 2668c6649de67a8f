"""Messages of this project's jobs, whose writer repeats a message if its answer is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagster_sagemaker_tests.faults.conftest import JobRunner, runner, training

__all__ = ["runner"]

pytestmark = pytest.mark.extended

CONTAINER = str(Path(__file__).with_name("messages_container.py"))


def test_first_message_whose_answer_is_lost(runner: JobRunner):
    """Its container writes it again, seconds later: what stands in it is told once, and no container was started again."""
    runner.double.fault("lost_answer", operations="s3.PutObject", skip=2)  # of context and record
    result = runner.run(training(entrypoint=("python", CONTAINER)), follow_logs=False)
    assert runner.double.calls()["callers"]["container"]["s3.PutObject"] == 3
    assert result.metadata["rows"] == 1
    assert (result.log.count("counting"), "started again" in result.log) == (1, False)
    assert runner.job()["starts"] == 1
