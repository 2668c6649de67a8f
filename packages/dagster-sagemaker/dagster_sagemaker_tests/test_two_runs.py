"""Two live runs that continue the same work, for instance after two people have resumed a failed run."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from dagster import DagsterRunStatus, MaterializeResult, asset, build_asset_context, materialize
from dagster._core.test_utils import create_run_for_test

from dagster_sagemaker.calls import Calls
from dagster_sagemaker.folder import Attempt, Folder, Record
from dagster_sagemaker_tests.conftest import messages, metadata, processing
from dagster_sagemaker_tests.fake_aws import START, THROTTLED, completes, forever, materialised, refusal
from dagster_sagemaker_tests.test_adoption import interrupt, killed
from dagster_sagemaker_tests.test_outdated import NEW_IMAGE, image_of, starts_and_ends

QUOTA = refusal(
    "ResourceLimitExceeded",
    "The account-level service limit 'ml.m5.large for processing job usage' is 2 Instances, with current utilization of 2",
)


def resumes(parent):
    return {
        "dagster/is_resume_retry": "true",
        "dagster/parent_run_id": parent.run_id,
        "dagster/root_run_id": parent.run_id,
    }


def leaves_early(runner, tags, error=None):
    """A run whose asset leaves the block after the first of two results."""
    client, jobs = runner.client(), [processing(key="first"), processing(key="second")]

    @asset
    def loads(context):
        with client.run_all(context=context, jobs=jobs, at_once=2) as ends:
            for _ in ends:
                if error:
                    raise error
                break
        return MaterializeResult()

    return materialize([loads], instance=runner.instance, tags=tags, raise_on_error=False)


@pytest.mark.parametrize("error", [None, ValueError("the asset's own code")], ids=["break", "error"])
def test_job_that_another_run_waits_for_is_left_by_an_asset_that_does_not(runner, error):
    runner.aws.scripts = [completes(run=100), forever]
    parent = killed(runner, 20, processing(key="first"), processing(key="second"), at_once=2)
    create_run_for_test(runner.instance, status=DagsterRunStatus.STARTED, tags=resumes(parent))
    result = leaves_early(runner, resumes(parent), error)
    assert result.success == (error is None)
    assert [job.status for job in runner.aws.jobs.values()] == ["Completed", "InProgress"]
    assert "left running, because another run continues the same work" in messages(result, runner.instance)


def test_job_that_another_run_creates_during_a_cancel_is_not_stopped(runner):
    runner.aws.scripts = [forever]
    parent = killed(runner, 0.5)
    (name,) = runner.aws.jobs
    runner.aws.jobs.clear()
    runner.aws.faults = {"create": [THROTTLED] * 100}
    interrupt(runner, 1, cancelled=True)

    def other_run_creates_it():
        create_run_for_test(runner.instance, status=DagsterRunStatus.STARTED, tags=resumes(parent))
        runner.aws.faults, runner.aws.scripts = {}, [forever]
        runner.aws.create_processing_job(ProcessingJobName=name)

    runner.aws.at(3, other_run_creates_it)
    result = runner.run(tags=resumes(parent))
    assert runner.aws.calls["stop"] > 1
    assert runner.aws.jobs[name].status == "InProgress"
    assert f"left running, because another run needs it: {name}" in messages(result, runner.instance)


def test_results_before_a_break_are_delivered(runner):
    runner.aws.scripts = [completes(run=100), forever, completes(), completes()]
    first = leaves_early(runner, {})
    assert first.success
    assert runner.retry(first, processing(key="first"), processing(key="second"), at_once=2).success
    assert len(runner.aws.jobs) == 4, "the first result is not given twice"


def test_result_before_an_error_is_given_to_the_retry(runner):
    runner.aws.scripts = [completes(run=100), forever, completes()]
    first = leaves_early(runner, {}, ValueError("the asset's own code"))
    assert runner.retry(first, processing(key="first"), processing(key="second"), at_once=2).success
    assert len(runner.aws.jobs) == 3


def test_attempt_that_another_run_has_recorded_meanwhile_is_not_created_beside_its_job(runner):
    """The run of the older image waits for quota while the other run starts its job, and is killed."""
    runner.aws.faults = {"create": [QUOTA, QUOTA]}
    parent = killed(runner, 5, processing(image="old"))
    runner.aws.scripts = [completes(run=5000), completes(report=[materialised(rows=7)])]
    runner.aws.at(5, lambda: killed(runner, 100, processing(image=NEW_IMAGE), tags=resumes(parent)))
    result = runner.run(processing(image="old"), tags=resumes(parent))
    assert metadata(result)["rows"] == 7
    assert [image_of(job) for job in runner.aws.jobs.values()] == [NEW_IMAGE, "old"]
    (_, over), (created, _) = starts_and_ends(runner)
    assert created >= (over - START).total_seconds()


@pytest.fixture
def folder(runner):
    return Folder(runner.aws, Calls(), "s3://bucket/artifacts", "origin", "loads")


def test_update_keeps_an_attempt_that_another_run_has_launched(folder):
    theirs = Record("loads", [Attempt(0, "loads-0", "ml.m5.large", False, "two", made_of={"image": "x"})])
    folder.write_record(theirs)
    folder.update_record(Record("loads", [Attempt(0, "loads-0", "ml.m5.large", False, "one")]))
    assert folder.read_record("loads") == theirs


def test_update_keeps_the_later_attempts_of_another_run(runner, folder):
    first = Attempt(0, "loads-0", "ml.m5.large", False, "one")
    second = Attempt(1, "loads-1", "ml.m5.large", False, "two", made_of={"image": "x"})
    folder.write_record(Record("loads", [first, second], "two"))
    ended = Attempt(0, "loads-0", "ml.m5.large", False, "one", ended="completed")
    folder.update_record(Record("loads", [ended], "one"))
    stored = json.loads(runner.aws.objects[f"{folder.bucket}/{folder.prefix}/record.json"][0])
    assert stored == asdict(Record("loads", [ended, second], "two"))


def test_direct_call_of_an_asset_looks_for_no_other_run(runner, capfd):
    client = runner.client()
    runner.aws.scripts = [completes(run=100), forever]

    @asset
    def loads(context):
        jobs = [processing(key="first"), processing(key="second")]
        with client.run_all(context=context, jobs=jobs, at_once=2) as ends:
            next(ends)

    with build_asset_context() as context:
        loads(context)
    assert [job.status for job in runner.aws.jobs.values()] == ["Completed", "Stopped"]
    assert "other runs cannot be read" not in capfd.readouterr().err
