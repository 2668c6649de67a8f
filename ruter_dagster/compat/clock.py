"""Dagster's clock. Time-window partitions end at its present time, and Dagster's test utilities can set it."""

from dagster._time import get_current_datetime

__all__ = ["get_current_datetime"]
