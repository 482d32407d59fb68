"""The use cases: one class a capability, one method a use case."""
