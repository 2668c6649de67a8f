"""The calculations: balanced loads, features, models, forecasts, scores and drift, on polars frames.

Input, output, settings and the clock do not belong here.

Some functions use integer keys, lookups by index or columns computed before a grouping, where a plain join or filter would be
shorter. The goals for features and forecasts of 530,000 departures a day require that (docs/performance.md).
"""
