"""The names of the standard feeds, for the settings and the formats."""

from __future__ import annotations

FEED_NAMES = ("siri-et", "occupancy-forecast", "gtfs-realtime", "gtfs-occupancies")
"""SIRI-ET as XML, SIRI-ET as JSON in the Swiss shape, GTFS-realtime TripUpdates, and GTFS occupancies.txt."""

DEFAULT_FEEDS = FEED_NAMES[:3]
NO_FEEDS = "none"
"""The value of the setting without any feed."""
