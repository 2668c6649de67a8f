"""What people look at outside Dagster: views in Athena and the dashboard in QuickSight, written as text and JSON.

Terraform deploys what this package returns. Code that reads a table or calls AWS does not belong here.
"""
