"""Failures that the whole house tells apart."""

from __future__ import annotations


class PermanentFailure(Exception):
    """Another attempt would end the same way: bad input, a wrong setting, a refused partition. Never retried.

    The message names the thing, the place and the remedy: it is what a person reads in the Dagster UI.
    """


class BadInput(PermanentFailure):
    """Input that breaks a table's contract or cannot be read; nothing of it was kept."""


class NoDateThere(BadInput):
    """None of the dates of a job is there. Where the job is a part of a longer range, the range goes on without them."""


class SettingsError(PermanentFailure):
    """A setting is wrong: the message lists each variable, its value and what is allowed."""
