"""The limits of Dagster's pools. Each pool stands for an instance quota; `settings.py` names both."""

from __future__ import annotations

from dagster import DagsterInstance


def pool_limit(instance: DagsterInstance, pool: str) -> int:
    """The number of runs that a pool allows at once: its own limit, else the instance's default, else 1."""
    limits = {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}
    if limits.get(pool) is not None:
        return limits[pool]
    return instance.get_concurrency_config().pool_config.default_pool_limit or 1
