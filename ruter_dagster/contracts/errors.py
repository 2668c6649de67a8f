"""The failures that all packages distinguish."""

from __future__ import annotations


class PermanentFailure(Exception):
    """A failure that another attempt cannot cure: bad input, a wrong setting, a blocked partition. Never retried.

    The message says what is wrong, where, and what to do. People read it in the Dagster UI.
    """


class BadInput(PermanentFailure):
    """Input that breaks a table's contract or cannot be read; nothing of it was kept."""


class NoDataForDates(BadInput):
    """None of a job's dates has data. If the job is part of a longer range, the range continues without the dates."""


class StateUnavailable(PermanentFailure):
    """Another state has no forecasts, or must not be read. Nothing was changed."""


class SettingsError(PermanentFailure):
    """A setting is wrong: the message lists each variable, its value and what is allowed."""
