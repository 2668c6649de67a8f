"""What people look at outside Dagster: views in Athena and the dashboard in QuickSight, written as text and JSON.

Nothing here reads a table or calls AWS; Terraform deploys what it returns.
"""
