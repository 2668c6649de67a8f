"""The entry point's arguments: which job, and its parameters where they do not come as a file. Runs nothing."""

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
    asked_at: str | None

    @classmethod
    def parse(cls, words: list[str] | None, description: str | None) -> Arguments:
        """Ends the process with 2 and the usage where the words are wrong."""
        parser = argparse.ArgumentParser(prog="python -m ruter_dagster.jobs", description=description)
        parser.add_argument(
            "job",
            choices=sorted(JOBS),
            help="the job; without --parameters they lie as a file below the container's base",
        )
        parser.add_argument(
            "--parameters",
            metavar="JSON",
            help='the job\'s parameters; dates may be D, D-1, D+3, a moment NOW: {"dates":["D-1"]}',
        )
        parser.add_argument(
            "--issue-date", metavar="YYYY-MM-DD", help=f"D; `{TODAY}`: the operator's date at --asked-at"
        )
        parser.add_argument(
            "--asked-at", metavar="TIME", help="NOW, in ISO 8601; by default the moment of the start"
        )
        return cls(**vars(parser.parse_args(words)))

    def read(self, container: Container) -> JobParameters:
        """The parameters given, or those in the container's file; a PermanentFailure tells what is wrong."""
        if self.parameters is None:
            return container.read_parameters(self.job)
        try:
            now = self._now()
            written = to_absolute(self.parameters, self._issue_date(now), now)
            return JOBS[self.job].model_validate_json(written)
        except ValueError as error:
            raise PermanentFailure(
                f"Job {self.job} cannot run with --parameters {self.parameters} --issue-date {self.issue_date} "
                f"--asked-at {self.asked_at}: {error}"
            ) from error

    def _now(self) -> datetime:
        now = datetime.fromisoformat(self.asked_at) if self.asked_at else datetime.now(UTC)
        return now if now.tzinfo else now.replace(tzinfo=UTC)

    def _issue_date(self, now: datetime) -> date | None:
        if self.issue_date != TODAY:
            return date.fromisoformat(self.issue_date) if self.issue_date else None
        return now.astimezone(ZoneInfo(operator_of(load_settings()).time_zone)).date()
