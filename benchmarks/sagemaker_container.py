"""The program of the containers of `benchmarks.sagemaker`: prints lines, reports through Pipes, and ends.

`python sagemaker_container.py TOKEN SECONDS LINGER INTERVAL`: LINGER seconds pass between Pipes' end and the container's.
Without Pipes variables, as in Airflow's jobs, the same lines are printed and nothing is reported.
"""

from __future__ import annotations

import sys
import time

import boto3
from dagster_pipes import PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes


def main(token: str, seconds: float, linger: float, interval: float) -> None:
    s3 = boto3.client("s3")
    ends, lines = time.monotonic() + seconds, 0
    with open_dagster_pipes(
        context_loader=PipesS3ContextLoader(s3), message_writer=PipesS3MessageWriter(s3, interval=2)
    ) as pipes:
        while (left := ends - time.monotonic()) > 0:
            print(f"{token} line {lines}", flush=True)
            lines += 1
            time.sleep(min(interval, left))
        pipes.report_asset_materialization(metadata={"lines": lines})
    time.sleep(linger)
    print(f"{token} line {lines}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *(float(text) for text in sys.argv[2:]))
