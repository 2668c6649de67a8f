"""One job whose supervisor lives: how it ends, what it costs in calls, what a person is told."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import pytest
from botocore.exceptions import NoCredentialsError
from dagster import asset, build_asset_context

from dagster_sagemaker import Clock, Ending, PipesSageMakerProcessingClient, ProcessingJob
from dagster_sagemaker_tests.conftest import messages, metadata, processing, training
from dagster_sagemaker_tests.fake_aws import (
    CLOSED,
    LOST,
    OPENED,
    THROTTLED,
    completes,
    ends,
    fails,
    forever,
    materialised,
    refusal,
)

CAPACITY = "CapacityError: Unable to provision requested ML compute capacity."
INTERNAL = "InternalServerError: We encountered an internal error. Please try again."
QUOTA = "The account-level service limit 'ml.m5.large for processing job usage' is {} Instances, with current utilization of 0"


def quota(limit):
    return refusal("ResourceLimitExceeded", QUOTA.format(limit))


def types_used(runner):
    return [
        job.answer["ProcessingResources"]["ClusterConfig"]["InstanceType"] for job in runner.aws.jobs.values()
    ]


def test_end_is_noticed_within_five_seconds_for_six_describes(runner):
    for tail in (0.1, 1.0, 3.5):
        runner.aws.scripts = [completes(run=180, tail=tail)]
        begun, before = runner.aws.now, runner.aws.calls["describe"]
        assert runner.run().success
        assert runner.returned_at - (begun + 180 + tail) <= 5
        assert runner.aws.calls["describe"] - before <= 6


@pytest.mark.parametrize("tail", [6.5, 12.5, 25, 59, 100])
def test_every_minute_has_at_most_four_describes(runner, tail):
    runner.aws.scripts = [completes(run=80, tail=tail)]
    assert runner.run().success
    times = [time for time, call in runner.aws.log if call == "describe"]
    assert all(later - earlier >= 60 for earlier, later in zip(times, times[4:], strict=False))
    assert runner.returned_at - (80 + tail) <= 22


def test_client_sleeps_while_a_job_with_logs_starts(runner):
    class Turns:
        count = 0

        def ended(self, names):
            self.count += 1
            return []

    runner.aws.scripts = [completes(start=240)]
    turns = Turns()
    assert runner.run(follow_logs=True, job_ends=turns).success
    assert turns.count < 2 * (240 + 180)


@pytest.mark.parametrize("tail", [4, 25, 59])
def test_end_event_triggers_describe_at_once(runner, tail):
    class Events:
        def ended(self, names):
            return [n for n in names if runner.aws.jobs[n].status == "Completed"] if runner.aws.jobs else []

    runner.aws.scripts = [completes(run=180, tail=tail)]
    assert runner.run(job_ends=Events()).success
    assert runner.returned_at - (180 + tail) <= 2
    assert runner.aws.calls["describe"] <= 4


def test_missing_event_delays_the_end_by_seconds(runner):
    class Nothing:
        def ended(self, names):
            raise ConnectionError("queue gone")

    runner.aws.scripts = [completes(run=180, tail=4)]
    assert runner.run(job_ends=Nothing()).success
    assert runner.returned_at - 184 <= 10


def test_metadata_has_links_durations_and_cost(runner):
    runner.aws.scripts = [completes(run=180, tail=4, start=100)]
    told = metadata(runner.run(prices={"ml.m5.large": 0.5}))
    assert told["rows"] == 1
    assert told["sagemaker/job_arn"].startswith(
        "arn:aws:sagemaker:eu-north-1:123456789012:processing-job/loads-"
    )
    assert told["sagemaker/image_digest"] == "sha256:" + "a" * 64
    assert (told["sagemaker/start_seconds"], told["sagemaker/run_seconds"]) == (100, 184)
    assert told["sagemaker/estimated_cost"] == round(0.5 * 184 / 3600, 4)
    assert told["sagemaker/api_calls"]["CreateProcessingJob"] == 1
    assert "processing-jobs/loads-" in told["sagemaker/console"]


def test_throttling_of_every_call_only_delays(runner):
    calls = ("create", "describe", "get", "put", "log_streams", "log_events")
    runner.aws.faults = {call: [THROTTLED] * 3 for call in calls}
    runner.aws.scripts = [completes()]
    assert runner.run(follow_logs=True).success
    assert len(runner.aws.jobs) == 1


def test_step_without_answers_fails_retryably_and_its_job_runs_on(runner):
    runner.aws.faults = {"describe": [THROTTLED] * 10_000}
    runner.aws.scripts = [forever]
    failed = runner.failure()
    assert failed.allow_retries
    assert "left running" in failed.description
    assert runner.aws.calls["stop"] == 0


def test_job_of_an_unanswered_create_is_adopted(runner):
    runner.aws.faults = {"create": [[LOST]]}
    runner.aws.scripts = [completes()]
    assert runner.run().success
    assert (runner.aws.calls["create"], len(runner.aws.jobs)) == (2, 1)


def test_lost_create_is_found_when_its_job_fills_the_quota(runner):
    runner.aws.faults = {"create": [[LOST], quota(1)]}
    runner.aws.scripts = [completes()]
    assert runner.run().success
    assert (runner.aws.calls["create"], len(runner.aws.jobs)) == (2, 1)


DENIED = refusal("AccessDeniedException", "not authorized to perform iam:PassRole")


def test_lost_create_is_found_when_the_next_is_denied(runner):
    runner.aws.faults = {"create": [[LOST], DENIED]}
    runner.aws.scripts = [completes()]
    assert runner.run().success
    assert (runner.aws.calls["create"], len(runner.aws.jobs)) == (2, 1)


def test_create_that_was_lost_and_denied_left_no_job(runner):
    runner.aws.faults = {"create": [LOST, DENIED, DENIED]}
    failed = runner.failure()
    assert not failed.allow_retries
    assert "iam:PassRole" in failed.description
    assert "running" not in failed.description


@pytest.mark.parametrize("describe", [DENIED, THROTTLED], ids=["denied", "throttled"])
def test_failure_names_a_job_that_may_still_run(runner, describe):
    runner.aws.faults = {"create": [[LOST], DENIED], "describe": [describe] * 1000}
    runner.aws.scripts = [completes(run=20_000)]
    result = runner.run()
    assert not result.success
    who = "a retry" if runner.failed.allow_retries else "a run from failure"
    assert f"A job of this name may be running; {who} adopts it." in runner.failed.description
    runner.aws.faults.clear()
    assert runner.retry(result).success
    assert len(runner.aws.jobs) == 1


def test_job_runs_on_when_describe_is_refused_and_is_adopted(runner):
    runner.aws.faults = {"describe": [DENIED]}
    runner.aws.scripts = [completes()]
    result = runner.run()
    assert not runner.failed.allow_retries
    assert "The job was left running; a run from failure adopts it." in runner.failed.description
    assert runner.retry(result).success
    assert len(runner.aws.jobs) == 1


def test_default_s3_client_does_not_retry(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    settings = PipesSageMakerProcessingClient("s3://bucket/artifacts")._settings
    for client in (settings.s3, settings.sagemaker, settings.logs):
        assert client.meta.config.retries["total_max_attempts"] == 1


def test_capacity_short_on_two_types_is_found_on_the_third(runner):
    runner.aws.scripts = [fails(CAPACITY), fails(CAPACITY), completes()]
    result = runner.run(processing(instance_types=("ml.m5.large", "ml.m6i.large", "ml.m7i.large")))
    assert result.success
    assert types_used(runner) == ["ml.m5.large", "ml.m6i.large", "ml.m7i.large"]
    assert "next attempt is on ml.m7i.large" in messages(result, runner.instance)
    assert metadata(result)["sagemaker/attempts"] == 3


def test_capacity_refused_by_create_keeps_the_job_name(runner):
    runner.aws.faults = {"create": [refusal("InsufficientInstanceCapacity")]}
    runner.aws.scripts = [completes()]
    assert runner.run(processing(instance_types=("ml.m5.large", "ml.m6i.large"))).success
    assert types_used(runner) == ["ml.m6i.large"]


def test_missing_capacity_fails_retryably(runner):
    runner.aws.scripts = [fails(CAPACITY)] * 10
    failed = runner.failure(processing(instance_types=("ml.m5.large", "ml.m6i.large")))
    assert failed.allow_retries
    assert len(runner.aws.jobs) == 10


def test_repeated_instance_type_is_tried_once_per_round(runner):
    runner.aws.scripts = [fails(CAPACITY)] * 20
    assert runner.failure(
        processing(instance_types=("ml.m5.large", "ml.m6i.large", "ml.m5.large"))
    ).allow_retries
    assert len(runner.aws.jobs) == 10


def test_quota_of_zero_is_fatal(runner):
    runner.aws.faults = {"create": [quota(0)]}
    failed = runner.failure()
    assert not failed.allow_retries
    assert "Service Quotas" in failed.description


def test_quota_of_zero_on_one_type_leaves_the_others(runner):
    runner.aws.faults = {"create": [quota(0)]}
    runner.aws.scripts = [completes()]
    assert runner.run(processing(instance_types=("ml.m5.large", "ml.m6i.large"))).success
    assert types_used(runner) == ["ml.m6i.large"]


@pytest.mark.parametrize(
    "words",
    [
        "The request delta of 1025 GBs for 'Size of EBS volume for a processing job instance' is greater than the "
        "account-level service-limit of 1024 GBs. If you believe this value is incorrect, contact AWS support.",
        "The account-level service limit 'Longest run time for a training job' is 432000 Seconds, with current "
        "utilization of 0 Seconds and a request delta of 777600 Seconds.",
    ],
)
def test_other_quota_smaller_than_the_job_is_fatal(runner, words):
    runner.aws.faults = {"create": [refusal("ResourceLimitExceeded", words)]}
    failed = runner.failure(processing(instance_types=("ml.m5.large", "ml.m6i.large")))
    assert not failed.allow_retries
    assert runner.aws.calls["create"] == 1
    assert re.search("quota of (Size of EBS volume|Longest run time)", failed.description)
    assert "or let the job request less" in failed.description


def test_client_waits_for_a_quota_with_unknown_need(runner):
    words = "The account-level service limit 'Processing jobs at once' is 0 Jobs"
    runner.aws.faults = {"create": [refusal("ResourceLimitExceeded", words)]}
    runner.aws.scripts = [completes()]
    assert runner.run().success


def test_client_waits_for_a_reached_quota(runner):
    runner.aws.faults = {"create": [quota(2)] * 6}
    runner.aws.scripts = [completes()]
    result = runner.run()
    assert result.success
    assert len(runner.aws.jobs) == 1
    assert metadata(result)["sagemaker/queue_seconds"] > 300


def test_internal_errors_end_after_three_attempts(runner):
    runner.aws.scripts = [fails(INTERNAL)] * 3
    failed = runner.failure()
    assert (len(runner.aws.jobs), failed.allow_retries) == (3, False)
    assert "internal error of SageMaker" in failed.description


def test_internal_error_is_retried(runner):
    runner.aws.scripts = [fails(INTERNAL), completes()]
    assert runner.run().success


@pytest.mark.parametrize(
    ("make", "reason", "answer"),
    [
        (
            processing,
            "AlgorithmError: See job logs for more information, exit code: 65",
            {"ExitMessage": "No counts"},
        ),
        (training, "AlgorithmError: No counts, exit code: 65", {}),
    ],
)
def test_algorithm_error_is_fatal_with_the_message_of_the_job(runner, make, reason, answer):
    runner.aws.scripts = [fails(reason, **answer)]
    failed = runner.failure(make())
    assert not failed.allow_retries
    assert "No counts" in failed.description
    assert failed.metadata["exit_code"].value == 65
    assert failed.metadata["sagemaker/job_arn"].value


def test_retryable_exit_code_is_left_to_the_retry_policy(runner):
    runner.aws.scripts = [fails("AlgorithmError: lost connection, exit code: 1")]
    assert runner.failure(processing(retryable_exit_codes=range(1, 64))).allow_retries


@pytest.mark.parametrize(
    "reason",
    [
        "AlgorithmError: See job logs, exit code: 137",
        "ClientError: Please use an instance type with more memory, or reduce the size of job data processed on an instance.",
        "ClientError: Out of Memory. Please use a larger instance and/or reduce the values of other parameters.",
    ],
)
def test_out_of_memory_is_reported(runner, reason):
    runner.aws.scripts = [fails(reason)]
    failed = runner.failure()
    assert "out of memory on ml.m5.large" in failed.description
    assert failed.metadata["exit_code"].value == 137


@pytest.mark.parametrize("reason", ["ClientError: Cannot pull image", "ClientError: Data download failed"])
def test_client_error_is_fatal(runner, reason):
    runner.aws.scripts = [fails(reason)]
    assert not runner.failure().allow_retries


def test_denied_access_is_fatal(runner):
    runner.aws.faults = {
        "create": [refusal("AccessDeniedException", "not authorized to perform iam:PassRole")]
    }
    failed = runner.failure()
    assert not failed.allow_retries
    assert "iam:PassRole" in failed.description


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        (NoCredentialsError(), "Sign in (aws sso login)"),
        (refusal("UnrecognizedClientException", "The security token is invalid"), "renew them"),
        (DENIED, "Give the role of this process this permission"),
    ],
)
def test_refused_call_reports_the_remedy(runner, fault, remedy):
    runner.aws.faults = {"create": [fault]}
    failed = runner.failure()
    assert not failed.allow_retries
    assert remedy in failed.description


def test_timeouts_of_both_kinds_are_fatal(runner):
    runner.aws.scripts = [ends("Stopped", after=62), ends("Stopped", SecondaryStatus="MaxRuntimeExceeded")]
    for make in (processing, training):
        failed = runner.failure(make(max_runtime_seconds=60))
        assert not failed.allow_retries
        assert "max_runtime_seconds=60" in failed.description


def test_job_stopped_by_someone_else_is_reported(runner):
    runner.aws.scripts = [ends("Stopped"), ends("Stopped")]
    for make in (processing, training):
        failed = runner.failure(make())
        assert not failed.allow_retries
        assert "not by this run" in failed.description


def test_spot_job_that_waits_too_long_runs_on_demand(runner):
    runner.aws.scripts = [ends("Stopped", SecondaryStatus="MaxWaitTimeExceeded"), completes()]
    assert runner.run(training(spot=True, checkpoint_s3="s3://bucket/checkpoints")).success
    first, second = runner.aws.jobs.values()
    assert (first.answer["EnableManagedSpotTraining"], second.answer["EnableManagedSpotTraining"]) == (
        True,
        False,
    )
    assert second.answer["CheckpointConfig"]["S3Uri"] == "s3://bucket/checkpoints"


@pytest.mark.parametrize("first", [[], [CLOSED], [materialised(rows=1)], [materialised(rows=1), CLOSED]])
def test_interrupted_spot_job_reports_once(runner, first):
    """Whatever the first container had reported, and though its first chunk is the second one's, to the letter."""

    def interrupted(aws, job):
        aws.at(1, lambda: (aws.start(job), aws.write(job, 1, OPENED)))
        aws.at(39, lambda: aws.write(job, 2, *first))
        aws.at(40, lambda: aws.step(job, "Interrupted"))
        aws.at(90, lambda: (aws.step(job, "Training"), aws.write(job, 1, OPENED)))
        aws.at(120, lambda: aws.write(job, 2, materialised(rows=2), CLOSED))
        aws.at(121, lambda: aws.end(job, "Completed"))

    runner.aws.scripts = [interrupted]
    result = runner.run(training(spot=True))
    assert metadata(result)["rows"] == 2
    told = messages(result, runner.instance)
    assert "Interrupted" in told
    assert told.count("earlier reports are discarded") == 1


def test_completed_job_without_closed_is_fatal(runner):
    runner.aws.scripts = [ends("Completed")]
    failed = runner.failure()
    assert not failed.allow_retries
    assert "it sent no `closed` message" in failed.description


def test_job_without_pipes_needs_no_closed(runner):
    runner.aws.scripts = [ends("Completed")]
    runner.run(processing(pipes=False))
    assert runner.failed is None
    (job,) = runner.aws.jobs.values()
    assert "DAGSTER_PIPES_MESSAGES" not in job.request["Environment"]


@pytest.mark.parametrize(
    "line",
    [
        "{not json",
        '{"method": "report_nothing", "params": {}}',
        '{"method": "report_asset_materialization", "params": {"asset_key": "loads", "metadata": {"x": {"raw_value": 1, "type": "no such"}}, "data_version": "1"}}',
        "[]",
    ],
)
def test_malformed_message_fails_the_job(runner, line):
    runner.aws.scripts = [completes(report=[line, materialised()])]
    failed = runner.failure()
    assert not failed.allow_retries
    assert "cannot be read" in failed.description


def test_refused_read_of_messages_is_reported(runner):
    runner.aws.scripts = [ends("Completed", after=20)]
    runner.aws.faults = {"get": [None, *[refusal("AccessDenied", "no s3:ListBucket", 403)] * 1000]}

    def looked_up(**_):
        raise refusal("NoSuchKey", status=404)

    runner.aws.faults["get"][0] = looked_up
    assert "no s3:ListBucket" in runner.failure().description


def test_all_limits_are_checked_before_the_job_is_created(runner):
    job = processing(role="me", environment={"LONG": "x" * 257}, arguments=("y" * 300,))
    failed = runner.failure(job)
    assert not failed.allow_retries
    assert all(word in failed.description for word in ("3 faults", "LONG", "arguments[0]", "role"))
    assert not runner.aws.calls["create"]


def test_isolated_job_with_pipes_is_not_created(runner):
    failed = runner.failure(processing(network_isolation=True))
    assert "pipes=False" in failed.description
    assert not runner.aws.calls["create"]
    runner.aws.scripts = [ends("Completed")]
    runner.run(processing(network_isolation=True, pipes=False))
    assert runner.failed is None


def test_special_characters_in_key_and_tags_are_accepted(runner):
    runner.aws.scripts = [completes()]
    awkward = "_|[å]/{}\n%20 日本 |🚍"
    assert runner.run(processing(key=awkward, tags={awkward: awkward * 30})).success
    (job,) = runner.aws.jobs.values()
    assert len(job.name) <= 63
    assert not set("|[]{}\n%🚍") & set("".join(tag["Key"] + tag["Value"] for tag in job.request["Tags"]))


def test_default_clock_is_real_time():
    assert Clock().now() <= Clock().now()


def test_asset_can_be_called_in_a_unit_test(runner):
    runner.aws.scripts = [completes(), completes()]

    @asset
    def loads(context):
        yield from runner.client().run(context=context, job=processing()).get_results()

    for _ in range(2):
        (result,) = loads(build_asset_context())
        assert result.metadata["rows"].value == 1
    assert len(runner.aws.jobs) == 2


@pytest.mark.parametrize(("code", "retried"), [(65, False), (75, True)])
def test_code_in_the_message_file_decides_on_a_retry(runner, code, retried):
    """Older stacks of SageMaker write no code of their own."""
    old = "AlgorithmError: See job logs for more information"
    runner.aws.scripts = [fails(old, ExitMessage=f"no connection\nexit code: {code}")]
    failed = runner.failure(processing(retryable_exit_codes={75}))
    assert (failed.exit_code, failed.allow_retries) == (code, retried)
    assert f"failed with exit code {code}: no connection" in failed.description


UNREADABLE = [3.0, Decimal(3), date(2026, 1, 1), b"x"]


@pytest.mark.parametrize("value", UNREADABLE, ids=lambda value: type(value).__name__)
def test_value_that_is_not_a_text_is_named(runner, value):
    failed = runner.failure(training(hyperparameters={"epochs": value}))
    assert f"hyperparameters.epochs (HyperParameters.epochs) is {value!r} of type" in failed.description


@pytest.mark.parametrize(
    "job", [ProcessingJob(instance_types=("ml.m5.large",)), ProcessingJob.of_request({})]
)
def test_job_without_image_and_role_is_refused_with_their_names(runner, job):
    failed = runner.failure(job)
    assert "image (AppSpecification.ImageUri) is missing" in failed.description
    assert "role (RoleArn) is missing" in failed.description


def test_client_waits_for_the_quota_of_one_group(runner):
    groups = [
        {"InstanceGroupName": "cpu", "InstanceType": "ml.m5.large", "InstanceCount": 2},
        {"InstanceGroupName": "gpu", "InstanceType": "ml.g5.xlarge", "InstanceCount": 1},
    ]
    request = {"ResourceConfig": {"VolumeSizeInGB": 10, "InstanceGroups": groups}}
    quota = (
        "The account-level service limit 'ml.g5.xlarge for training job usage' is 2 Instances, with current "
    )
    quota += "utilization of 2 Instances and a request delta of 1 Instances."
    runner.aws.scripts = [completes()]
    runner.aws.faults = {"create": [refusal("ResourceLimitExceeded", quota)]}
    assert runner.run(training(instance_types=(), volume_gb=None, request=request)).success


@pytest.mark.parametrize("pipes", [True, False])
def test_job_that_sagemaker_does_not_know_yet_is_described_again(runner, pipes):
    unknown = refusal("ValidationException", "Could not find requested job with name: x")
    runner.aws.scripts = [completes() if pipes else ends("Completed", 100)]
    runner.aws.faults = {"describe": [unknown, unknown]}
    runner.run(processing(pipes=pipes))
    assert runner.failed is None


def test_completed_job_whose_pipes_ended_with_an_exception_has_failed(runner):
    exception = {"message": "boom", "name": "ValueError", "stack": [], "cause": None, "context": None}
    closed = {"method": "closed", "params": {"exception": exception}}

    def script(aws, job):
        aws.at(1, lambda: (aws.start(job), aws.write(job, 1, OPENED)))
        aws.at(20, lambda: aws.write(job, 2, closed))
        aws.at(21, lambda: aws.end(job, "Completed"))

    runner.aws.scripts = [script]
    failed = runner.failure()
    assert failed.ending is Ending.SILENT
    assert "its Pipes session ended with boom" in failed.description
