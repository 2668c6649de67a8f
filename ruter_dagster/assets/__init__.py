"""Dagster assets: what depends on what, and the job and parameters of each asset.

Computing, reading tables and the choice of a launcher do not belong here.
"""
