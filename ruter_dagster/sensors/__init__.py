"""Schedules and sensors: what starts runs, and what reacts to runs that failed, were lost or were cancelled.

The text of alerts and the listing of sources do not belong here.
"""
