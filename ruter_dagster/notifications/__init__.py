"""Formats alerts and sends them to Slack.

The package `sensors` decides which events are worth an alert.
"""
