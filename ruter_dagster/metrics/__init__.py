"""Sends metrics: in CloudWatch's embedded metric format, and as DogStatsD datagrams.

The list of metrics belongs in `contracts/metrics.py`; measuring their values belongs in `jobs/metrics.py` and `sensors/measurements.py`.
"""
