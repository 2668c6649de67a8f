"""Calls and lag of SageMaker jobs: our clients beside Airflow's operators, on the executing double of `packages/sagemaker-double`.

`python -m benchmarks.sagemaker [--json FILE]` runs three rounds, four jobs of each case at once, of three minutes and a seeded
0 to 30 s more, so that ends lie anywhere in a polling interval; 15 minutes in all, nearly all of them waiting. Prints a table
and whether the goals are met. Airflow's environment is made with uv in `--airflow FOLDER`, once.

`--like-aws` brings in what the double leaves out: a minute of starting, lines that reach CloudWatch after 3 s, and up to 30 s
from Pipes' end to the job's (uploads, say). `--quick` runs one round of jobs of two seconds, to see that all parts work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import boto3
from rich.console import Console

from benchmarks import airflow_operators
from benchmarks.sagemaker_figures import Lines, Measured, goals, measured, shown_lines, table
from benchmarks.sagemaker_ours import BUCKET
from benchmarks.sagemaker_work import AIRFLOW, Lengths, Work, plan_round
from sagemaker_double.control import Remote
from sagemaker_double.process import aws_environment, double_process

AIRFLOW_FOLDER = Path(tempfile.gettempdir()) / "sagemaker-benchmark-airflow"
LIKE_AWS = {"starting": 60.0, "linger": 30.0, "log_lag": 3.0}


def main() -> None:
    args = _arguments()
    lengths = Lengths(shortest=2.0, spread=3.0, interval=0.5) if args.quick else Lengths()
    if args.like_aws:
        lengths = Lengths(linger=LIKE_AWS["linger"])
    airflow = airflow_operators.environment(args.airflow)
    figures: list[Measured] = []
    versions: dict[str, str] = {}
    for number in range(1, 1 + (1 if args.quick else args.rounds)):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            runners = Runners(Path(folder), airflow)
            figures += round_of(plan_round(number, args.jobs, lengths), runners, like_aws=args.like_aws)
            versions = runners.versions
        if args.json:
            results = {"machine": machine(), "versions": versions, "jobs": [asdict(each) for each in figures]}
            args.json.write_text(json.dumps(results, indent=2))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(figures))
    for goal, met, figure in goals(figures):
        console.print(f"{'met   ' if met else 'MISSED'} {goal}: {figure}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=4, help="of each case in a round")
    parser.add_argument("--json", type=Path, help="file for the figures of every job")
    parser.add_argument(
        "--airflow", type=Path, default=AIRFLOW_FOLDER, help="folder of Airflow's environment"
    )
    parser.add_argument("--like-aws", action="store_true")
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()


class Runners:
    """The two processes that run a round's jobs. `folder`: for what they read and write."""

    def __init__(self, folder: Path, airflow: Path | None, pace: float = 1.0) -> None:
        self.folder, self.airflow, self.pace = folder, airflow, pace
        self.versions: dict[str, str] = {}

    def run(self, works: list[Work], url: str) -> tuple[dict[str, Any], str]:
        """Each job's end by token, and all printed output."""
        ours = [work for work in works if work.case.by != AIRFLOW]
        theirs = [work for work in works if work.case.by == AIRFLOW]
        module = [sys.executable, "-m", "benchmarks.sagemaker_ours"]
        started = [self._start("ours", module, ours, url, str(self.pace))]
        if theirs:
            script = [str(self.airflow), "-P", airflow_operators.__file__]
            started.append(self._start("airflow", script, theirs, url))
        failed = [process.args for process in started if process.wait()]
        if failed:
            raise RuntimeError(f"{failed}: {self._printed()[-5000:]}")
        ends = json.loads((self.folder / "ours.json").read_text())
        if theirs:
            results = json.loads((self.folder / "airflow.json").read_text())
            self.versions = results["versions"]
            ends |= results["ends"]
        return ends, self._printed()

    def _start(self, name: str, command: list[str], works: list[Work], url: str, *more: str) -> Any:
        plan, results = self.folder / f"{name}-plan.json", self.folder / f"{name}.json"
        requests = [{"request": work.request()} if name == "airflow" else {} for work in works]
        plan.write_text(json.dumps([asdict(work) | each for work, each in zip(works, requests, strict=True)]))
        nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        environment = os.environ | aws_environment(url) | nowhere | airflow_operators.variables(self.folder)
        environment.pop("AWS_PROFILE", None)
        with (self.folder / f"{name}.log").open("w") as log:
            return subprocess.Popen(
                [*command, str(plan), str(results), *more],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _printed(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


def round_of(works: list[Work], runners: Runners, *, like_aws: bool = False) -> list[Measured]:
    """Runs all jobs at once on a new double."""
    settings = {"slots": len(works), "starting": LIKE_AWS["starting"] if like_aws else 0.02}
    with double_process(**settings) as remote:
        if like_aws:
            remote.fault("log_lag", seconds=LIKE_AWS["log_lag"], count=None)
        return on_double(works, runners, remote)


def on_double(works: list[Work], runners: Runners, remote: Remote) -> list[Measured]:
    region = aws_environment(remote.url)["AWS_DEFAULT_REGION"]
    session = boto3.Session("setup", "none", region_name=region)
    place = {"LocationConstraint": region}
    for bucket in (BUCKET, "bucket"):
        session.client("s3", endpoint_url=remote.url).create_bucket(
            Bucket=bucket, CreateBucketConfiguration=place
        )
    ends, printed = runners.run(works, remote.url)
    calls, jobs = remote.calls(), {job["name"]: job for job in remote.jobs()}
    names = {work.token: ends[work.token]["job"] for work in works}
    lines = Lines(
        _written(works, names, session.client("logs", endpoint_url=remote.url)), shown_lines(printed)
    )
    return [measured(work, ends[work.token], jobs[names[work.token]], calls, lines) for work in works]


def _written(works: list[Work], names: dict[str, str], logs: Any) -> dict[str, int]:
    """Each job's numbered lines in CloudWatch, by token; a container prints others too, warnings say."""
    found: dict[str, int] = {}
    for work in works:
        group = f"/aws/sagemaker/{work.case.service}Jobs"
        prefix = f"{names[work.token]}/"
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)["logStreams"]
        messages = [
            event["message"]
            for stream in streams
            for event in logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]
        found[work.token] = sum(shown_lines("\n".join(messages))[work.token].values())
    return found


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
