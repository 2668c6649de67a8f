"""What every job works with: settings, tables, artifacts, models, the source, and where to report.

Each is opened on first use, so that a job pays only for what it touches. No job's own logic belongs here.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

log = logging.getLogger("ruter_dagster.jobs")
