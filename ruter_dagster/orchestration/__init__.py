"""Runs and partitions: the chain of runs, planning, executing and repeating runs, and queries of Dagster's event log.

Output for people belongs in `commands`.
"""
