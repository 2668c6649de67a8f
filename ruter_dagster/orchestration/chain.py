"""The runs of the chain and their assets."""

RUNS = {
    "counts": ("raw/stop_visits", "quality/stop_visits", "loads/stop_loads", "quality/stop_loads"),
    "plan": ("raw/planned_departures", "quality/planned_departures", "features/departure_features", "quality/departure_features"),
    "weather": ("raw/weather_forecasts", "quality/weather_forecasts"),
    "sampling": ("features/training_sample",),
    "training": ("models/load_model", "models/evaluation", "models/refitted_model", "models/champion"),
    "forecasting": (
        "raw/weather_forecasts", "quality/weather_forecasts", "features/levels", "quality/levels",
        "forecasts/load_forecasts", "forecasts/published_forecasts",
    ),
    "monitoring": ("monitoring/forecast_performance", "monitoring/drift"),
}  # fmt: skip
"""The runs of the chain: Dagster refuses one run over assets of different partitions."""
