"""Quality checks of tables: measures, Great Expectations suites and reports.

The list of checks and their bounds belongs in `contracts`.
"""
