"""Settings and operator files: read once from variables and TOML files, and validated before anything runs.

Values that are the same in every deployment do not belong here: they are in `contracts`.
"""
