"""The use cases: one class a capability, one method a use case; they know the domain and the ports, nothing else."""
