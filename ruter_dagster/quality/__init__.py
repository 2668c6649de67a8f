"""Quality checks of tables: measures, Great Expectations suites and reports.

The list of checks and their bounds does not belong here: it is in `contracts`.
"""
