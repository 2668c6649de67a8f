"""What all packages share: tables, checks, job names and parameters, exit codes, errors.

Input, output and imports of other packages do not belong here.
"""
