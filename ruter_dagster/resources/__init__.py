"""Launchers: they run an asset's job, as a local process or in SageMaker, and report its results to Dagster.

The work of a job belongs in `jobs`.
"""
