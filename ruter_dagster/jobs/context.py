"""What every job works with: settings, tables, artifacts, models, the source, and where to report.

Each is opened on first use, so that a job pays only for what it touches. No job's own logic belongs here.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

from ruter_dagster.contracts.jobs import JobParameters
from ruter_dagster.contracts.tables import Table
from ruter_dagster.contracts.container import Container
from ruter_dagster.jobs.pipes import DateReport, Reporter, json_value
from ruter_dagster.settings import Settings

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger("ruter_dagster.jobs")
