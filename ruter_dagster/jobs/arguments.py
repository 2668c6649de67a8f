"""Parses the entry point's arguments: the job's name, and its parameters if they are not in a file."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import load_settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.date_templates import to_absolute
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import JOBS, JobParameters

TODAY = "today"


@dataclass(frozen=True)
class Arguments:
    job: str
    parameters: str | None
    issue_date: str | None
    requested_at: str | None

    @classmethod
    def parse(cls, arguments: list[str] | None, description: str | None) -> Arguments:
        """Parses the arguments. Wrong ones end the process with exit code 2 and the usage."""
        parser = argparse.ArgumentParser(prog="python -m ruter_dagster.jobs", description=description)
        parser.add_argument(
            "job",
            choices=sorted(JOBS),
            help="the job; without --parameters it reads the file of parameters in the container's folder",
        )
        parser.add_argument(
            "--parameters",
            metavar="JSON",
            help='the job\'s parameters; dates may be D, D-1, D+3, a timestamp NOW: {"dates":["D-1"]}',
        )
        parser.add_argument(
            "--issue-date", metavar="YYYY-MM-DD", help=f"D; `{TODAY}`: the operator's date at --requested-at"
        )
        parser.add_argument(
            "--requested-at", metavar="TIME", help="NOW in ISO 8601; default: the start of the job"
        )
        return cls(**vars(parser.parse_args(arguments)))

    def read(self, container: Container) -> JobParameters:
        """The parameters of the arguments, or of the container's file. Raises `PermanentFailure` if they are wrong."""
        if self.parameters is None:
            return container.read_parameters(self.job)
        try:
            now = self._now()
            absolute = to_absolute(self.parameters, self._issue_date(now), now)
            return JOBS[self.job].model_validate_json(absolute)
        except ValueError as error:
            raise PermanentFailure(
                f"Job {self.job} cannot run with --parameters {self.parameters} --issue-date {self.issue_date} "
                f"--requested-at {self.requested_at}: {error}"
            ) from error

    def _now(self) -> datetime:
        now = datetime.fromisoformat(self.requested_at) if self.requested_at else datetime.now(UTC)
        return now if now.tzinfo else now.replace(tzinfo=UTC)

    def _issue_date(self, now: datetime) -> date | None:
        if self.issue_date != TODAY:
            return date.fromisoformat(self.issue_date) if self.issue_date else None
        return now.astimezone(ZoneInfo(operator_of(load_settings()).time_zone)).date()
