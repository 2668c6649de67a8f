"""Base classes of the local instance's storage. Dagster has no setting that lets their folder follow our settings.

- `DagsterSqliteStorage`: runs, events and schedules in SQLite.
- `SqliteRunStorage`: its runs alone, in the folder `runs_directory` of the storage.
- `LocalComputeLogManager`: what steps print, in files.
- `ComputeIOType`: selects standard output or standard error of what steps print.
- `EventLogStorage`: the type of any instance's events, also of another state's, which has no instance here.
"""

from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.event_log import EventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._core.storage.sqlite_storage import _runs_directory as runs_directory

__all__ = [
    "ComputeIOType",
    "DagsterSqliteStorage",
    "EventLogStorage",
    "LocalComputeLogManager",
    "SqliteRunStorage",
    "runs_directory",
]
