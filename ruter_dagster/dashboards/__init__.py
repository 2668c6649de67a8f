"""What people read outside Dagster, as text and JSON: views in Athena, the dashboard in QuickSight, and the note on a comparison.

Terraform deploys views and dashboard. Code that reads a table or calls AWS does not belong here.
"""
