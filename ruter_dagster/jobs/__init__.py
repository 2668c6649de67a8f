"""The jobs, one module each. A job reads tables, calls `forecasting` or `quality`, and writes tables.

Code of Dagster and SageMaker does not belong here, so that a job runs the same in each launcher.
"""
