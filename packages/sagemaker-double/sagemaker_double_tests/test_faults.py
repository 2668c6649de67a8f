"""Each fault: the answer that the caller gets, and the effect of the call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.exceptions import ConnectionError as AnyConnectionError

from sagemaker_double.control import Remote
from sagemaker_double.requests import processing, training
from sagemaker_double_tests.models import needs_preferences

pytestmark = pytest.mark.extended

ONCE = Config(retries={"total_max_attempts": 1})
SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600},
    "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"},
}


@pytest.fixture
def sagemaker(sagemaker_double: Remote, aws: Any) -> Any:
    """A client that does not try again by itself."""
    aws("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return aws("sagemaker", config=ONCE)


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


# Calls


def test_throttle_refuses_calls_by_operation_and_job(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.fault("throttle", operations="Describe*", jobs="job-*", count=2)
    sagemaker.create_processing_job(**processing("job-1"))
    for _ in range(2):
        with pytest.raises(ClientError) as refused:
            sagemaker.describe_processing_job(ProcessingJobName="job-1")
        assert code_of(refused) == "ThrottlingException"
    sagemaker.describe_processing_job(ProcessingJobName="job-1")
    assert sagemaker_double.calls()["errors"] == {"sagemaker.DescribeProcessingJob": 2}


def test_throttle_by_default_spares_s3(sagemaker_double: Remote, sagemaker: Any, aws: Any) -> None:
    sagemaker_double.fault("throttle", count=None)
    with pytest.raises(ClientError, match="Rate exceeded"):
        aws("logs", config=ONCE).describe_log_streams(logGroupName="/aws/sagemaker/ProcessingJobs")
    aws("s3").put_object(Bucket="bucket", Key="x", Body=b"")


def test_job_exists_although_the_answer_of_create_is_lost(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.fault("lost_answer", operations="Create*")
    with pytest.raises(ClientError) as lost:
        sagemaker.create_processing_job(**processing("job"))
    assert lost.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    with pytest.raises(ClientError) as refused:
        sagemaker.create_processing_job(**processing("job"))
    assert code_of(refused) == "ResourceInUse"
    assert sagemaker_double.wait_for("job")["status"] == "Completed"


def test_connection_is_cut_before_or_after_the_effect(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.fault("lost_answer", operations="Create*", how="cut")
    sagemaker_double.fault("cut", operations="Create*", skip=1)
    for name in ("there", "not-there"):
        with pytest.raises((ConnectionClosedError, AnyConnectionError)):
            sagemaker.create_processing_job(**processing(name))
    assert [job["name"] for job in sagemaker_double.jobs()] == ["there"]


def test_error_fault_answers_its_code_and_message(sagemaker_double: Remote, sagemaker: Any) -> None:
    words = {"code": "AccessDeniedException", "status": 403, "message": "not authorized"}
    sagemaker_double.fault("error", operations="sagemaker.Create*", **words)
    with pytest.raises(ClientError, match="not authorized") as refused:
        sagemaker.create_processing_job(**processing("job"))
    assert code_of(refused) == "AccessDeniedException"


def test_slow_call_waits_before_or_after_its_effect(sagemaker_double: Remote, sagemaker: Any) -> None:
    with ThreadPoolExecutor(1) as thread:
        sagemaker_double.fault("slow", operations="Create*", seconds=600, after_effect=True)
        call = thread.submit(sagemaker.create_processing_job, **processing("after"))
        sagemaker_double.wait_for("after", "InProgress", "Completed")
        assert not call.done()
        sagemaker_double.clear_faults()
        assert call.exception() is not None
        sagemaker_double.fault("slow", operations="Create*", seconds=600)
        call = thread.submit(sagemaker.create_processing_job, **processing("before"))
        sagemaker_double.wait(lambda: sagemaker_double.faults()[0]["taken"])
        sagemaker_double.clear_faults()
        assert call.exception() is not None
    assert [job["name"] for job in sagemaker_double.jobs()] == ["after"]


def test_calls_above_the_account_rate_are_throttled(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.set(rates={"sagemaker.ListProcessingJobs": 1})
    sagemaker.list_processing_jobs()
    with pytest.raises(ClientError, match="Rate exceeded"):
        for _ in range(20):  # two of them come within a second, also on a slow machine
            sagemaker.list_processing_jobs()


# Starting


def test_create_above_a_quota_is_refused(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.set(
        quotas={"ml.m5.large for processing job usage": 1, "ml.m5.large for training job usage": 0}
    )
    sagemaker.create_processing_job(**processing("first", SLEEP))
    for create in (
        lambda: sagemaker.create_processing_job(**processing("second")),
        lambda: sagemaker.create_training_job(**training("third")),
    ):
        with pytest.raises(ClientError, match="account-level service limit") as refused:
            create()
        assert code_of(refused) == "ResourceLimitExceeded"
    sagemaker.stop_processing_job(ProcessingJobName="first")
    sagemaker_double.wait_for("first")
    sagemaker.create_processing_job(**processing("second"))


def test_capacity_is_short_on_some_types(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.fault("capacity", instance_types=["ml.m5.large"], count=None)
    sagemaker.create_processing_job(**processing("large"))
    cluster = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
    sagemaker.create_processing_job(**processing("xlarge", ProcessingResources={"ClusterConfig": cluster}))
    assert sagemaker_double.wait_for("large")["describe"]["FailureReason"].startswith(
        "CapacityError: Unable to provision"
    )
    assert sagemaker_double.wait_for("xlarge")["status"] == "Completed"


@needs_preferences
def test_first_instance_preference_with_capacity_is_selected(
    sagemaker_double: Remote, sagemaker: Any
) -> None:
    sagemaker_double.fault("capacity", instance_types=["ml.m5.large"])
    types = [{"InstanceType": name, "InstanceCount": 1} for name in ("ml.m5.large", "ml.m5.xlarge")]
    sagemaker.create_training_job(
        **training("job", ResourceConfig={"InstancePreferences": types, "VolumeSizeInGB": 1})
    )
    described = sagemaker_double.wait_for("job")["describe"]
    assert described["ResourceConfig"]["SelectedInstanceType"] == "ml.m5.xlarge"


def test_capacity_is_short_at_create(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.fault("capacity", at_create=True)
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity") as refused:
        sagemaker.create_processing_job(**processing("job"))
    assert code_of(refused) == "ResourceLimitExceeded"


def test_internal_fault_fails_three_jobs(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.fault("internal", jobs="job-*", count=3)
    reasons = []
    for number in range(4):
        sagemaker.create_processing_job(**processing(f"job-{number}"))
        reasons.append(sagemaker_double.wait_for(f"job-{number}")["describe"].get("FailureReason", ""))
    assert [reason.partition(":")[0] for reason in reasons] == ["InternalServerError"] * 3 + [""]


def test_job_is_stopped_while_it_starts(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.fault("delayed_start", seconds=60)
    sagemaker.create_training_job(**training("job"))
    assert sagemaker.describe_training_job(TrainingJobName="job")["SecondaryStatus"] == "Starting"
    sagemaker.stop_training_job(TrainingJobName="job")
    job = sagemaker_double.wait_for("job")
    assert (job["status"], job["starts"]) == ("Stopped", 0)


# Running


def test_job_resumes_from_checkpoints_after_a_spot_interruption(
    sagemaker_double: Remote, sagemaker: Any
) -> None:
    code = """
import os, pathlib, time
checkpoints = pathlib.Path(os.environ["SAGEMAKER_DOUBLE_CONTAINER_BASE"]) / "checkpoints"
if (checkpoints / "step").exists():
    print("resumed from", (checkpoints / "step").read_text())
else:
    (checkpoints / "step").write_text("7")
    print("saved", flush=True)
    time.sleep(60)
"""
    sagemaker_double.fault("spot_interruption", on_log="saved")
    sagemaker.create_training_job(**training("job", code, **SPOT))
    job = sagemaker_double.wait_for("job")
    stages = [each["Status"] for each in job["describe"]["SecondaryStatusTransitions"]]
    first = ["Starting", "Downloading", "Training"]
    assert stages == [*first, "Interrupted", *first, "Uploading", "Completed"]
    assert (job["status"], job["starts"]) == ("Completed", 2)


def test_job_stops_when_no_spot_instance_comes(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.fault("spot_wait", seconds=0.1)
    sagemaker.create_training_job(**training("job", **SPOT))
    job = sagemaker_double.wait_for("job")
    assert (job["status"], job["secondary"], job["starts"]) == ("Stopped", "MaxWaitTimeExceeded", 0)


def test_out_of_memory_is_exit_code_137(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.fault("out_of_memory", on_log="ready")
    sagemaker.create_processing_job(**processing("job", SLEEP))
    assert sagemaker_double.wait_for("job")["describe"]["FailureReason"] == "AlgorithmError: , exit code: 137"


def test_person_stops_the_job_in_the_console(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.fault("console_stop", on_log="ready")
    sagemaker_double.fault("slow_stop", seconds=2)
    sagemaker.create_processing_job(**processing("job", SLEEP))
    assert sagemaker_double.wait_for("job", "Stopping")["status"] == "Stopping"
    assert sagemaker_double.wait_for("job")["status"] == "Stopped"


def test_container_that_ignores_sigterm_is_killed_after_the_grace(
    sagemaker_double: Remote, sagemaker: Any
) -> None:
    sagemaker_double.set(grace=0.2)
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
    sagemaker_double.fault("console_stop", on_log="ready")
    sagemaker.create_processing_job(**processing("job", code))
    job = sagemaker_double.wait_for("job")
    assert (job["status"], job["exits"]) == ("Stopped", [137])


def test_log_lines_come_after_the_end_of_the_job(sagemaker_double: Remote, sagemaker: Any, aws: Any) -> None:
    logs = aws("logs")
    sagemaker_double.fault("log_lag", seconds=5)
    sagemaker.create_processing_job(**processing("job", "print('late')"))
    sagemaker_double.wait_for("job")

    def streams() -> list[Any]:
        try:
            return logs.describe_log_streams(logGroupName="/aws/sagemaker/ProcessingJobs")["logStreams"]
        except ClientError:
            return []

    assert streams() == []
    assert sagemaker_double.wait(streams)


def test_unknown_fault_is_refused(sagemaker_double: Remote) -> None:
    with pytest.raises(ValueError, match="no such fault: earthquake"):
        sagemaker_double.fault("earthquake")


def test_unknown_field_of_a_fault_is_refused(sagemaker_double: Remote) -> None:
    with pytest.raises(Exception, match=r"a fault has no operation; there are kind, .*operations"):
        sagemaker_double.fault("throttle", operation="x")


def test_internal_fault_that_skips_one_job_strikes_the_second(
    sagemaker_double: Remote, sagemaker: Any
) -> None:
    sagemaker_double.fault("internal", skip=1)
    ends = []
    for name in ("first", "second"):
        sagemaker.create_processing_job(**processing(name))
        ends.append(sagemaker_double.wait_for(name)["status"])
    assert ends == ["Completed", "Failed"]


def test_fault_waits_for_the_job_that_prints_its_text(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.fault("out_of_memory", on_log="ready")
    sagemaker.create_processing_job(**processing("silent"))
    assert sagemaker_double.wait_for("silent")["status"] == "Completed"
    assert sagemaker_double.faults()[0]["taken"] == 0
    sagemaker.create_processing_job(**processing("prints", SLEEP))
    assert sagemaker_double.wait_for("prints")["exits"] == [137]


def test_only_spot_jobs_are_interrupted(sagemaker_double: Remote, sagemaker: Any) -> None:
    sagemaker_double.fault("spot_interruption", on_log="printed")
    sagemaker.create_processing_job(
        **processing("job", "print('printed', flush=True); import time; time.sleep(1)")
    )
    assert sagemaker_double.wait_for("job")["starts"] == 1
    assert sagemaker_double.faults()[0]["taken"] == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "out_of_memory", "at_create": True}, "the fault out_of_memory has no at_create"),
        ({"kind": "slow_query", "jobs": "job"}, "the fault slow_query has no jobs"),
        ({"kind": "slow", "seconds": "1"}, "seconds is '1': a value of type float"),
        ({"kind": "throttle", "count": True}, "count is True: a value of type int"),
        ({"kind": "lost_answer", "how": "reset"}, "how is 'reset': 500 or cut"),
        ({"kind": "throttle", "operations": "Descrbe*"}, "fits no call"),
        ({"kind": "throttle", "operations": "glue.ReadTable"}, "fits no call"),
        ({"kind": "throttle", "operations": "s3.ListObjectsV2"}, "Calls of S3 are ListObjects"),
    ],
)
def test_fault_without_effect_is_refused(
    sagemaker_double: Remote, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        sagemaker_double.fault(**fields)
    assert sagemaker_double.faults() == []


def test_throttle_answers_the_error_of_each_protocol(
    sagemaker_double: Remote, sagemaker: Any, aws: Any
) -> None:
    sagemaker_double.fault("throttle", operations="s3.PutObject")
    sagemaker_double.fault("throttle", operations="sts.GetCallerIdentity")
    with pytest.raises(ClientError) as refused:
        aws("s3", config=ONCE).put_object(Bucket="bucket", Key="x", Body=b"")
    assert (code_of(refused), refused.value.response["ResponseMetadata"]["HTTPStatusCode"]) == (
        "SlowDown",
        503,
    )
    with pytest.raises(ClientError) as refused:
        aws("sts", config=ONCE).get_caller_identity()
    assert code_of(refused) == "Throttling"
    assert sagemaker_double.calls()["errors"] == {"s3.PutObject": 1, "sts.GetCallerIdentity": 1}


def test_reset_restores_a_setting_that_was_a_whole_number(sagemaker_double: Remote) -> None:
    sagemaker_double.set(starting=60)
    sagemaker_double.reset()
    assert sagemaker_double.ask("GET", "/settings")["starting"] == 0.02


def test_wrong_setting_is_refused(sagemaker_double: Remote) -> None:
    before = sagemaker_double.ask("GET", "/settings")
    for changes in ({"grace": "2"}, {"slots": 1.5}, {"starting": 1, "failure_wording": "older"}):
        with pytest.raises(ValueError, match="is needed"):
            sagemaker_double.set(**changes)
    assert sagemaker_double.ask("GET", "/settings") == before
