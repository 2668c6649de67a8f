"""Formats alerts and sends them to Slack.

The choice of events that are worth an alert belongs in `sensors`.
"""
