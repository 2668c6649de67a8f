"""Publication on Kafka: messages, schemas, topics, transactions, a consumer, and the local broker.

The calculation of forecasts does not belong here.
"""
