"""Stored data: Iceberg tables, artifacts, verdicts, model versions, and MLflow records.

The meaning of columns and the calculations on them do not belong here.
"""
