"""Dagster's pools by instance quota: how many runs share one. What a quota is belongs in settings.py."""

from __future__ import annotations

from dagster import DagsterInstance


def runs_of_pool(instance: DagsterInstance, pool: str) -> int:
    """How many runs may be in a pool at once: its own limit, else the default of the instance; 1 where there is none."""
    own = next(
        (found.limit for found in instance.event_log_storage.get_pool_limits() if found.name == pool), None
    )
    if own is not None:
        return own
    return instance.get_concurrency_config().pool_config.default_pool_limit or 1
