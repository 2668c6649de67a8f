"""The calculations: balanced loads, features, models, forecasts, scores and drift, on polars frames.

Input, output, settings and the clock do not belong here.
"""
