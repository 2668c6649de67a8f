"""Base classes of the local instance's storage. Dagster has no setting that lets their folder follow our settings.

- `DagsterSqliteStorage`: runs, events and schedules in SQLite.
- `LocalComputeLogManager`: what steps print, in files.
"""

from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

__all__ = ["DagsterSqliteStorage", "LocalComputeLogManager"]
