"""The state of alerts in Dagster's run storage: open incidents, and notices that wait for a channel.

A sensor's cursor is stored only when a tick ends, and tags belong to runs. The key-value table of the run storage is written
at once, in one statement, in SQLite and in Postgres.
"""

from __future__ import annotations

from collections.abc import Callable

from dagster import DagsterInstance
from pydantic import BaseModel, ValidationError

from ruter_dagster.notifications.incidents import Incidents
from ruter_dagster.notifications.outbox import Outbox

STATE_KEY = "ruter_dagster/alerts"


class AlertState(BaseModel, frozen=True):
    """`failures_read_to`: record id of the newest failure of a run that was examined. `next_incident`: see `RunCursor`."""

    failures_read_to: int
    next_incident: int = 0
    incidents: Incidents = Incidents()
    outbox: Outbox = Outbox()


def load_state(instance: DagsterInstance, report: Callable[[str], None]) -> AlertState | None:
    """The stored state; None before the first tick. A state that cannot be read is reported and left out."""
    text = instance.daemon_cursor_storage.get_cursor_values({STATE_KEY}).get(STATE_KEY)
    if not text:
        return None
    try:
        return AlertState.model_validate_json(text)
    except ValidationError as error:
        report(f"The state of alerts cannot be read, so that open incidents are forgotten: {error}")
        return None


def save_state(instance: DagsterInstance, state: AlertState) -> None:
    instance.daemon_cursor_storage.set_cursor_values({STATE_KEY: state.model_dump_json()})


def clear_state(instance: DagsterInstance) -> None:
    """Forgets open incidents and waiting notices."""
    if instance.daemon_cursor_storage.get_cursor_values({STATE_KEY}).get(STATE_KEY):
        instance.daemon_cursor_storage.set_cursor_values({STATE_KEY: ""})
