"""Capacity planning: queues, the scaling law, the autoscaler, the plan."""
