"""Every private name of Dagster and pyiceberg that this project relies on; each module says why it is needed.

Code of our own does not belong here; `tests/compat` states what we expect of each name, so that an upgrade fails there first.
"""
