"""Mirror, probe, metrics, logs, ids."""
