"""Jobs that are made of something else than what is to run now: stopped or left where they are, never taken for the new ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from dagster_sagemaker_tests.conftest import messages, metadata, processing, training
from dagster_sagemaker_tests.fake_aws import CLOSED, START, completes, ends, fails, materialised, refusal
from dagster_sagemaker_tests.test_adoption import Killed, killed
from dagster_sagemaker_tests.test_interface import Reader

NEW_IMAGE = "123456789012.dkr.ecr.eu-north-1.amazonaws.com/jobs@sha256:" + "b" * 64
EITHER_KIND = pytest.mark.parametrize("made", [processing, training], ids=["Processing", "Training"])


def starts_and_ends(runner):
    """Of every job, when it was created and when it ended."""
    return [(job.created, job.answer[f"{job.kind}EndTime"]) for job in runner.aws.jobs.values()]


@EITHER_KIND
def test_results_of_an_older_image_are_not_used(runner, made):
    jobs, newer = [
        [made(key=key, image=image) for key in ("there", "broken")] for image in ("old", NEW_IMAGE)
    ]
    broken = fails("AlgorithmError: x, exit code: 1", after=20)
    runner.aws.scripts = [completes(run=10), broken, completes(run=10), completes(run=10)]
    first = runner.run(*jobs, at_once=2)
    result = runner.retry(first, *newer, at_once=2)
    assert result.success
    images = [image_of(job) for job in runner.aws.jobs.values()]
    assert images == ["old", "old", NEW_IMAGE, NEW_IMAGE]
    there = next(name for name in runner.aws.jobs if name.startswith("there"))
    said = f"{there} from an earlier execution ended (completed): starting a new job. It differs from the job to run now: image."
    assert messages(result, runner.instance).count(said) == 1


def image_of(job):
    answer = job.answer
    return (
        answer.get("AppSpecification", {}).get("ImageUri")
        or answer["AlgorithmSpecification"]["TrainingImage"]
    )


@EITHER_KIND
def test_job_of_an_older_image_is_stopped_before_the_next_starts(runner, made):
    runner.aws.scripts = [completes(run=5000), completes(report=[materialised(rows=7)])]
    parent = killed(runner, 50, made(image="old"))
    (old,) = runner.aws.jobs.values()
    stops_slowly(runner, old, 40)
    result = runner.retry(parent, made(image=NEW_IMAGE))
    assert metadata(result)["rows"] == 7
    (_, over), (created, _) = starts_and_ends(runner)
    assert (old.status, runner.aws.calls["stop"]) == ("Stopped", 1)
    assert 0 <= created - (over - START).total_seconds() <= 16
    told = messages(result, runner.instance)
    assert told.count(f"{old.name} differs from the job to run now (image): stopping it") == 1


def stops_slowly(runner, job, seconds):
    """Its container takes so long to end."""

    def stop(_):
        job.answer[f"{job.kind}JobStatus"] = "Stopping"
        runner.aws.step(job, "Stopping")
        runner.aws.at(seconds, lambda: runner.aws.end(job, "Stopped"))

    runner.aws.stop_now = stop


def test_job_of_an_older_image_that_completes_is_not_adopted(runner):
    def completed_meanwhile():
        runner.aws.end(old, "Completed")
        words = "The request was rejected because the processing job is in status Completed."
        raise refusal("ValidationException", words)

    runner.aws.scripts = [completes(run=5000), completes(report=[materialised(rows=7)])]
    parent = killed(runner, 20, processing(image="old"))
    (old,) = runner.aws.jobs.values()
    runner.aws.faults = {"stop": [completed_meanwhile]}
    result = runner.retry(parent, processing(image=NEW_IMAGE))
    assert metadata(result)["rows"] == 7
    (_, over), (created, _) = starts_and_ends(runner)
    assert created >= (over - START).total_seconds()


def test_job_of_an_older_image_that_cannot_be_stopped_fails_the_step(runner):
    runner.aws.scripts = [completes(run=5000)]
    parent = killed(runner, 20, processing(image="old"))
    runner.aws.faults = {"stop": [refusal("AccessDeniedException", "not authorized to stop")]}
    assert not runner.retry(parent, processing(image=NEW_IMAGE)).success
    (name,) = runner.aws.jobs
    assert (
        f"Job {name} differs from the job to run now (image), is running and cannot be stopped"
        in runner.failed.description
    )
    assert f"processing-jobs/{name}" in runner.failed.description


def test_process_killed_before_create_reserves_no_name(runner):
    runner.aws.faults = {"create": [lambda: (_ for _ in ()).throw(Killed)]}
    runner.run(processing(image="old"))
    runner.aws.scripts = [completes()]
    assert runner.retry(runner.instance.get_runs(limit=1)[0], processing(image=NEW_IMAGE)).success
    assert [name[-2:] for name in runner.aws.jobs] == ["-1"]


OTHER_KIND = pytest.mark.parametrize(
    ("made", "other"), [(processing, training), (training, processing)], ids=["Processing", "Training"]
)


@OTHER_KIND
def test_job_of_the_other_kind_is_stopped_before_the_next_starts(runner, made, other):
    runner.aws.scripts = [completes(run=5000), completes()]
    parent = killed(runner, 20, made(image="old"))
    (old,) = runner.aws.jobs.values()
    stops_slowly(runner, old, 40)
    assert runner.retry(parent, other(image="old")).success
    assert (old.status, runner.aws.calls["stop"]) == ("Stopped", 1)
    (_, over), (created, _) = starts_and_ends(runner)
    assert 0 <= created - (over - START).total_seconds() <= 16


@OTHER_KIND
def test_job_of_the_other_kind_that_cannot_be_stopped_fails_the_step(runner, made, other):
    runner.aws.scripts = [completes(run=5000)]
    parent = killed(runner, 20, made(image="old"))
    runner.aws.faults = {"stop": [refusal("AccessDeniedException", "not authorized to stop")]}
    assert not runner.retry(parent, other(image="old")).success
    (job,) = runner.aws.jobs.values()
    assert "is running and cannot be stopped" in runner.failed.description
    console = {"Processing": "processing-jobs", "Training": "jobs"}[job.kind]
    assert f"#/{console}/{job.name}" in runner.failed.description


def test_denied_describe_of_the_other_kind_is_ignored(runner):
    runner.aws.faults = {"create": [lambda: (_ for _ in ()).throw(Killed)]}
    runner.run(processing(image="old"))
    runner.aws.scripts = [completes()]
    unknown = refusal("ValidationException", "Could not find requested job")
    runner.aws.faults = {"describe": [unknown, refusal("AccessDeniedException", "not authorized")]}
    assert runner.retry(runner.instance.get_runs(limit=1)[0], processing(image=NEW_IMAGE)).success


def test_other_settings_of_the_same_work_adopt_its_job(runner):
    runner.aws.scripts = [completes(run=300)]
    first = processing(environment={"A": "1", "B": "2"}, tags={"run": "one"})
    later = processing(
        environment={"B": "2", "A": "1"}, tags={"run": "two"}, instance_types=("ml.m5.xlarge",), volume_gb=100
    )
    assert runner.retry(killed(runner, 20, first), later).success
    assert len(runner.aws.jobs) == 1


def test_job_with_a_record_without_digests_is_adopted(runner):
    runner.aws.scripts = [completes(run=300)]
    parent = killed(runner, 20, processing(image="old"))
    (key,) = [key for key in runner.aws.objects if key.endswith("record.json")]
    record: dict[str, Any] = json.loads(runner.aws.objects[key][0])
    del record["attempts"][0]["made_of"]
    record["attempts"][0]["of_a_later_version"] = 1
    runner.aws.put(key, json.dumps(record))
    assert runner.retry(parent, processing(image=NEW_IMAGE)).success
    assert len(runner.aws.jobs) == 1


def test_outdated_job_that_another_run_waits_for_is_not_stopped(runner):
    runner.aws.scripts = [completes(run=5000)]
    parent = killed(runner, 50, processing(image="old"))
    tags = {"dagster/is_resume_retry": "true", "dagster/parent_run_id": parent.run_id}
    tags["dagster/root_run_id"] = parent.run_id
    other = create_run_for_test(runner.instance, status=DagsterRunStatus.STARTED, tags=tags)
    result = runner.run(processing(image=NEW_IMAGE), tags=tags)
    assert not result.success
    assert "is running, but differs from the job to run now (image)" in runner.failed.description
    assert f"Run {other.run_id} may wait for it" in runner.failed.description
    assert runner.aws.calls["stop"] == 0


def test_job_of_a_custom_reader_is_launched_again_without_it(runner):
    reader = Reader("here")
    runner.aws.scripts = [reader.script(materialised(), CLOSED, run=5000), completes()]
    parent = killed(runner, 20, message_reader=reader)
    assert runner.retry(parent).success
    assert runner.aws.calls["stop"] == 1


def test_job_without_pipes_is_launched_again_with_pipes(runner):
    runner.aws.scripts = [ends("Completed", 300), completes()]
    parent = killed(runner, 20, processing(pipes=False))
    assert runner.retry(parent, processing(pipes=True)).success
    assert len(runner.aws.jobs) == 2
