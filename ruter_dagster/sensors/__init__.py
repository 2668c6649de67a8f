"""Schedules and sensors: they start runs, and react to runs that failed, were lost or were cancelled.

The text of alerts belongs in `notifications`, the listing of sources in `sources`.
"""
