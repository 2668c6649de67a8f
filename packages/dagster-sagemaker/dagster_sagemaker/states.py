"""The states of a job that a step waits for, and the changes that are allowed. docs/states.md draws them."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a job is, as far as the client knows."""

    LOOKING_UP = "looking up"
    """The client reads the record of the job's key."""
    INSPECTING = "inspecting"
    """There is a job of an earlier process, or its record. The client asks Describe, and adopts the job or not."""
    ENDING = "ending"
    """The earlier job is outdated or being stopped. The client stops it and waits for its end."""
    PREPARING = "preparing"
    """No job exists. The client writes the record and the inputs of the attempt, after a pause where one is due."""
    ASKED = "asked"
    """Create has not answered, so the job may exist. The client calls Create again, under the same name."""
    CONFIRMING = "confirming"
    """Create was refused after a call without an answer. The client asks Describe whether the job exists."""
    STARTING = "starting"
    """The job exists. Its container has not opened Dagster Pipes."""
    RUNNING = "running"
    """The container has opened Dagster Pipes."""
    CLOSING = "closing"
    """The container has closed Dagster Pipes. The job may still upload its outputs."""
    COLLECTING = "collecting"
    """The job is over. The client reads the rest of its messages and log lines."""
    HARVESTING = "harvesting"
    """The same, of a job that was over when it was found."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    """The client has stopped the job: its run was cancelled, or the asset waits for it no longer."""
    LEFT = "left"
    """This process ends. Another one adopts the job."""


MAY_EXIST = frozenset(State) - {
    State.LOOKING_UP,
    State.PREPARING,
    State.SUCCEEDED,
    State.FAILED,
    State.STOPPED,
    State.LEFT,
}
"""States in which SageMaker may know a job that no end was seen of."""

_WATCHED = {State.STARTING, State.RUNNING, State.CLOSING, State.COLLECTING}
_MOVES: dict[State, set[State]] = {
    State.LOOKING_UP: {State.INSPECTING, State.PREPARING},
    State.INSPECTING: {State.ENDING, State.PREPARING, State.ASKED, State.STARTING, State.HARVESTING},
    State.ENDING: {State.INSPECTING},
    State.PREPARING: {State.ASKED},
    State.ASKED: {State.INSPECTING, State.CONFIRMING, State.PREPARING, State.STARTING},
    State.CONFIRMING: {State.ASKED, State.PREPARING, State.STARTING},
    State.STARTING: _WATCHED - {State.STARTING},
    State.RUNNING: _WATCHED - {State.RUNNING},
    State.CLOSING: _WATCHED - {State.CLOSING},
    State.COLLECTING: {State.SUCCEEDED, State.PREPARING},
    State.HARVESTING: {State.SUCCEEDED, State.PREPARING},
}
NEXT: dict[State, frozenset[State]] = {
    state: frozenset(moves | {State.FAILED} | ({State.STOPPED, State.LEFT} if state in MAY_EXIST else set()))
    for state, moves in _MOVES.items()
}
"""The states that may follow each one; the ends have none."""


class Machine:
    """Holds the state of a job. `enter` is the only way to change it."""

    def __init__(self) -> None:
        self.state = State.LOOKING_UP

    def enter(self, state: State) -> None:
        """Changes the state; the same state again is no change. Raises RuntimeError if the table lacks the change."""
        if state is not self.state and state not in NEXT.get(self.state, ()):
            raise RuntimeError(f"a job cannot go from {self.state.value!r} to {state.value!r}")
        self.state = state

    @property
    def may_exist(self) -> bool:
        return self.state in MAY_EXIST

    @property
    def ended(self) -> bool:
        return self.state not in NEXT
