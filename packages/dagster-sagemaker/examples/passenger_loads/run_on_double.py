"""Runs the project without an AWS account: `python run_on_double.py`.

With a command, that command runs instead: `python run_on_double.py dg dev`.
"""

import os
import subprocess
import sys
from pathlib import Path

import boto3
from dagster import DagsterInstance, ExecuteInProcessResult

from sagemaker_double.process import aws_environment, double_process

PROJECT = Path(__file__).parent
BUCKET = "passenger-loads"
VARIABLES = {
    "BUCKET": BUCKET,
    "IMAGE": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/passenger-loads:1",
    "ROLE": "arn:aws:iam::123456789012:role/jobs",
}


def upload_counts() -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    s3.upload_file(str(PROJECT / "data" / "counts.csv"), BUCKET, "counts/counts.csv")


def materialize_all() -> ExecuteInProcessResult:
    sys.path.insert(0, str(PROJECT))
    from passenger_loads.definitions import defs

    job = defs().resolve_implicit_global_asset_job_def()
    with DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(instance=instance)


def show(result: ExecuteInProcessResult) -> None:
    """Prints the metadata of each asset."""
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        print(f"\n{materialization.asset_key.to_user_string()}")
        for name, value in materialization.metadata.items():
            print(f"  {name:28} {value.value}")


def main() -> None:
    # The folder `container` is what the image has in its working directory.
    with double_process(working_directory=str(PROJECT / "container")) as double:
        os.environ.update(aws_environment(double.url) | VARIABLES)
        upload_counts()
        if command := sys.argv[1:]:
            sys.exit(subprocess.call(command, cwd=PROJECT))
        show(materialize_all())


if __name__ == "__main__":
    main()
