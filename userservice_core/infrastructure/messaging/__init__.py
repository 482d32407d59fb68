"""From the outbox to the bus and to the recipients of mail: the relay, Kafka, and SMTP."""
