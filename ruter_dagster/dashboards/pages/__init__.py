"""The pages of `ruter-dagster dashboard`, one module each. They draw with Streamlit what `dashboards/data` computes.

Code that reads a table or computes a score belongs in `dashboards/data`.
"""
