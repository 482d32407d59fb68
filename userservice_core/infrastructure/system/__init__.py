"""The machine the service runs on: clock, entropy, health, metrics, logs, and this process's mirror of revocations."""
