"""Messages to people: formats alerts and sends them to Slack, and posts notes to merge requests in GitLab.

The choice of events that are worth an alert belongs in `sensors`.
"""
