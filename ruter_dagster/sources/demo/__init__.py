"""A simulated public transport network with passengers, weather and passenger counters that make errors.

Code that a real source needs does not belong here.
"""
