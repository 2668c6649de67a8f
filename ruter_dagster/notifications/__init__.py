"""What an alert looks like, and how it is sent to Slack.

The choice of which events are worth an alert does not belong here: it is in `sensors`.
"""
