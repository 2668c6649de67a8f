"""Forecasts of passenger loads: sources, tables, jobs and the Dagster definitions that run them.

Code that works for any Dagster project does not belong here: it is in `dagster_sagemaker`.
"""
