"""All that knows Kafka and mail."""
