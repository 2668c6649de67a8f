"""Launchers: how an asset's job runs, as a local process or in SageMaker, and how its results reach Dagster.

The work of the job does not belong here.
"""
