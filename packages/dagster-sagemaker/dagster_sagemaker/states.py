"""The states of a supervised job, and the allowed changes. docs/states.md has the diagram."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What the client knows of a job."""

    LOOKING_UP = "looking up"
    """The client reads the record of the job's key."""
    INSPECTING = "inspecting"
    """Another process has written a record. The client calls Describe to decide whether to adopt its job."""
    ENDING = "ending"
    """The earlier job is outdated or already stopping. The client stops it if needed, and waits for its end."""
    PREPARING = "preparing"
    """No job exists. After a pause if one is due, the client writes the record and inputs of the attempt."""
    CREATING = "creating"
    """Create has not answered, so the job may exist. The client calls Create again with the same name."""
    CONFIRMING = "confirming"
    """Create was refused after a call without an answer. The client calls Describe to see if the job exists."""
    STARTING = "starting"
    """The job exists. Its container has not opened Dagster Pipes."""
    RUNNING = "running"
    """The container has opened Dagster Pipes."""
    CLOSING = "closing"
    """The container has closed Dagster Pipes. The job may still upload its outputs."""
    READING_REST = "reading the rest"
    """The job has ended. The client reads the rest of its messages and log lines."""
    READING_EARLIER = "reading an earlier job"
    """The client reads the messages and log lines of a job that had ended before it was adopted."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    """The client has stopped the job: its run was cancelled, or the asset no longer waits for it."""
    LEFT = "left"
    """This process is ending. The job keeps running, and another process adopts it."""


MAY_EXIST = frozenset(State) - {
    State.LOOKING_UP,
    State.PREPARING,
    State.SUCCEEDED,
    State.FAILED,
    State.STOPPED,
    State.LEFT,
}
"""States in which SageMaker may have a job whose end is not known."""

_WATCHED = {State.STARTING, State.RUNNING, State.CLOSING, State.READING_REST}
_MOVES: dict[State, set[State]] = {
    State.LOOKING_UP: {State.INSPECTING, State.PREPARING},
    State.INSPECTING: {State.ENDING, State.PREPARING, State.CREATING, State.STARTING, State.READING_EARLIER},
    State.ENDING: {State.INSPECTING},
    State.PREPARING: {State.CREATING, State.INSPECTING},
    State.CREATING: {State.INSPECTING, State.CONFIRMING, State.PREPARING, State.STARTING},
    State.CONFIRMING: {State.CREATING, State.PREPARING, State.STARTING},
    State.STARTING: _WATCHED - {State.STARTING},
    State.RUNNING: _WATCHED - {State.RUNNING},
    State.CLOSING: _WATCHED - {State.CLOSING},
    State.READING_REST: {State.SUCCEEDED, State.PREPARING},
    State.READING_EARLIER: {State.SUCCEEDED, State.PREPARING},
}
NEXT: dict[State, frozenset[State]] = {
    state: frozenset(moves | {State.FAILED} | ({State.STOPPED, State.LEFT} if state in MAY_EXIST else set()))
    for state, moves in _MOVES.items()
}
"""The states that may follow each state. Final states are not in the table."""


class Machine:
    """Holds the state of a job. `enter` is the only way to change it."""

    def __init__(self) -> None:
        self.state = State.LOOKING_UP

    def enter(self, state: State) -> None:
        """Changes the state. Entering the same state does nothing. Raises RuntimeError if the change is not allowed."""
        if state is not self.state and state not in NEXT.get(self.state, ()):
            raise RuntimeError(f"a job cannot go from {self.state.value!r} to {state.value!r}")
        self.state = state

    @property
    def may_exist(self) -> bool:
        return self.state in MAY_EXIST

    @property
    def ended(self) -> bool:
        return self.state not in NEXT
