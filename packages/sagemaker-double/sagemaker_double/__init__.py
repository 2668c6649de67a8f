"""A double of AWS that runs SageMaker's jobs as processes, for tests and for work on one's own machine.

Code that knows Dagster or a project under test does not belong here. README.md describes what is public.
"""
