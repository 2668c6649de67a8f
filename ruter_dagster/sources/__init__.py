"""Sources of raw data: TIDES tables, GTFS feeds, a warehouse behind Athena, and the demo network.

Balancing, features and writing tables do not belong here.
"""
