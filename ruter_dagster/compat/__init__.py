"""Every private name of Dagster and pyiceberg that this project relies on; each module says why. Nothing else belongs here.

`tests/compat` states what we expect of each name, so that an upgrade that changes one fails there first.
"""
