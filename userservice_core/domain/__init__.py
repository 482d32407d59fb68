"""Values and rules; reads no clock, entropy, environment or socket."""
