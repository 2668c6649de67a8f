"""Figures of `benchmarks.sagemaker`: from the ends of jobs, the double's counts and printed lines to a table and goals."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from benchmarks.sagemaker_work import AIRFLOW, OURS, Case, Work

_LINE = re.compile(r"(r\d+-[a-z0-9-]+) line (\d+)")
POLLING_LAG, EVENTS_LAG = 5.0, 2.0


@dataclass(frozen=True)
class Measured:
    """One job. `lag`: seconds from its end to the materialisation (Airflow: to the operator's return). The rest are counts."""

    case: Case
    index: int
    seconds: float
    lag: float
    describes: int
    logs: int
    s3: int
    sqs: int
    written: int
    """Log lines in CloudWatch."""
    once: int
    """Log lines that were shown exactly once."""
    again: int
    """Log lines that were shown more than once."""


def measured(
    work: Work, end: Mapping[str, Any], job: Mapping[str, Any], calls: Mapping[str, Any], lines: Lines
) -> Measured:
    """`end`: the runner's; `job` and `calls`: the double's."""
    described, service = job["describe"], work.case.service
    ended = described[f"{service}EndTime"]
    of_job, of_caller = calls["jobs"][end["job"]], calls["callers"].get(work.token, {})
    shown = lines.shown.get(work.token, Counter())
    return Measured(
        case=work.case,
        index=work.index,
        seconds=ended - described["CreationTime"],
        lag=end["seen"] - ended,
        describes=of_job.get(f"sagemaker.Describe{service}Job", 0),
        logs=_sum(of_job, "logs."),
        s3=_sum(of_caller, "s3."),
        sqs=_sum(of_caller, "sqs."),
        written=lines.written[work.token],
        once=sum(times == 1 for times in shown.values()),
        again=sum(times > 1 for times in shown.values()),
    )


@dataclass(frozen=True)
class Lines:
    """Log lines by token: how many are in CloudWatch, and how often each was shown."""

    written: Mapping[str, int]
    shown: Mapping[str, Counter[str]]


def shown_lines(output: str) -> dict[str, Counter[str]]:
    """How often each job's lines, by number, occur in a runner's output."""
    found: dict[str, Counter[str]] = {}
    for token, number in _LINE.findall(output):
        found.setdefault(token, Counter())[number] += 1
    return found


def _sum(counts: Mapping[str, int], prefix: str) -> int:
    return sum(count for operation, count in counts.items() if operation.startswith(prefix))


# The table


def table(figures: Sequence[Measured]) -> Table:
    shown = Table(
        "job",
        "run by",
        "lag s: median",
        "worst",
        *(f"{name} a job" for name in ("Describe", "log", "S3", "SQS")),
    )
    shown.add_column("Describe and log a job-minute")
    shown.add_column("lines shown once")
    for row in rows(figures):
        shown.add_row(*row)
    return shown


def rows(figures: Sequence[Measured]) -> list[tuple[str, ...]]:
    """One row per case, in the order of the figures."""
    return [
        (
            f"{case.service}{', logs on' if case.logs else ''}",
            f"{case.by}, {case.mode}",
            f"{statistics.median(each.lag for each in own):.1f}",
            f"{max(each.lag for each in own):.1f}",
            *(_span([getattr(each, name) for each in own]) for name in ("describes", "logs", "s3", "sqs")),
            f"{sum(each.describes + each.logs for each in own) / sum(each.seconds / 60 for each in own):.1f}",
            f"{sum(each.once for each in own)} of {sum(each.written for each in own)}" if case.logs else "",
        )
        for case, own in by_case(figures).items()
    ]


def by_case(figures: Sequence[Measured]) -> dict[Case, list[Measured]]:
    found: dict[Case, list[Measured]] = {}
    for each in figures:
        found.setdefault(each.case, []).append(each)
    return found


def _span(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least}-{most}"


# The goals


def goals(figures: Sequence[Measured]) -> list[tuple[str, bool, str]]:
    """Each goal, whether it is met, and its figure: the largest lags, and calls per job compared with Airflow's default."""
    ours = [each for each in figures if each.case.by == OURS]
    polling = [each.lag for each in ours if each.case.mode == "polling"]
    pushed = [each.lag for each in ours if each.case.mode == "events"]
    results = [
        _lag("lag by polling", polling, POLLING_LAG),
        _lag("lag with events", pushed, EVENTS_LAG),
        _calls("Describe calls, Processing", figures, "Processing", lambda each: each.describes),
        _calls("Describe calls, Training", figures, "Training", lambda each: each.describes),
        _calls("log calls, Training", figures, "Training", lambda each: each.logs),
    ]
    silent = [each for each in ours if not each.case.logs]
    results.append(
        (
            "log calls where logs are off: none",
            not any(each.logs for each in silent),
            f"{sum(each.logs for each in silent)}",
        )
    )
    logged = [each for each in ours if each.case.logs]
    once = all(each.once == each.written and not each.again for each in logged)
    counted = f"{sum(each.once for each in logged)} of {sum(each.written for each in logged)}, {sum(each.again for each in logged)} again"
    return [*results, ("every log line once", once, counted)]


def _lag(name: str, lags: Sequence[float], goal: float) -> tuple[str, bool, str]:
    return f"{name}: at most {goal:g} s", max(lags) <= goal, f"{max(lags):.1f} s at worst of {len(lags)}"


def _calls(
    name: str, figures: Sequence[Measured], service: str, count: Callable[[Measured], int]
) -> tuple[str, bool, str]:
    """Compares job by job: jobs at the same index are equally long."""
    airflow = _counts(figures, AIRFLOW, "default", service, count)
    by_mode = {mode: _counts(figures, OURS, mode, service, count) for mode in ("polling", "events")}
    met = all(own <= other for counts in by_mode.values() for own, other in zip(counts, airflow, strict=True))
    ours = " and ".join(f"{_span(counts)} {mode}" for mode, counts in by_mode.items())
    return f"{name}: no more than Airflow's default", met, f"{ours} against {_span(airflow)}"


def _counts(
    figures: Sequence[Measured], by: str, mode: str, service: str, count: Callable[[Measured], int]
) -> list[int]:
    wanted = (by, mode, service)
    return [count(each) for each in figures if (each.case.by, each.case.mode, each.case.service) == wanted]
