"""The command line `ruter-dagster`: one module per command, and the text that each command prints.

Code that a schedule, a sensor or a job also needs does not belong here.
"""
