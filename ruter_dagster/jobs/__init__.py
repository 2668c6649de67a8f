"""The jobs, one module each: a job reads tables, calls `forecasting` or `quality`, and writes tables.

Dagster and SageMaker do not belong here, so that a job runs the same in each launcher.
"""
