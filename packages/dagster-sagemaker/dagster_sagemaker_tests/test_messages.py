"""Whose messages these are: of a container that was started again, or of the same one that wrote them twice."""

from __future__ import annotations

import pytest

from dagster_sagemaker.calls import Calls
from dagster_sagemaker.folder import Folder
from dagster_sagemaker_tests.conftest import messages, metadata, training
from dagster_sagemaker_tests.fake_aws import CLOSED, OPENED, materialised, told

AGAIN = "the container was restarted"


def test_first_message_written_twice_is_reported_once(runner):
    """boto3 repeats a call whose answer was lost."""

    def script(aws, job):
        aws.at(1, lambda: aws.start(job))
        for seconds in (5, 65):
            aws.at(seconds, lambda: aws.write(job, 1, OPENED, told("hello"), container="a"))
        aws.at(70, lambda: aws.write(job, 2, materialised(rows=7), CLOSED, container="a"))
        aws.at(71, lambda: aws.end(job, "Completed"))

    runner.aws.scripts = [script]
    result = runner.run(training())
    assert metadata(result)["rows"] == 7
    log = messages(result, runner.instance)
    assert (log.count("hello"), AGAIN in log) == (1, False)


@pytest.mark.parametrize(("first", "second"), [("a", "b"), ("", "")], ids=["named", "not named"])
def test_reports_of_a_restarted_container_replace_earlier_ones(runner, first, second):
    """What the first one had reported is not told, also where the second one has not written over it yet."""

    def script(aws, job):
        aws.at(1, lambda: aws.start(job))
        aws.at(5, lambda: aws.write(job, 1, OPENED, container=first))
        aws.at(6, lambda: aws.write(job, 2, materialised(rows=1), container=first))
        aws.at(60, lambda: aws.write(job, 1, OPENED, container=second))
        aws.at(90, lambda: aws.write(job, 2, materialised(rows=7), CLOSED, container=second))
        aws.at(91, lambda: aws.end(job, "Completed"))

    runner.aws.scripts = [script]
    result = runner.run(training())
    assert metadata(result)["rows"] == 7
    assert messages(result, runner.instance).count(AGAIN) == 1


def test_runs_that_share_a_job_keep_separate_log_positions(aws):
    aws("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    folder = Folder(aws("s3"), Calls(), "s3://bucket/artifacts", "origin", "job")
    for run_id, shown in (("a", 3), ("b", 5)):
        seen = folder.read_progress(run_id, 1)
        assert seen.messages == 0
        seen.messages = shown
        folder.write_progress(seen)
    assert [folder.read_progress(run_id, 1).messages for run_id in ("a", "b")] == [3, 5]
    assert folder.read_progress("a", 2).messages == 0, "another attempt of the job"
