"""Values and rules of the domain: frozen, and reading neither clock nor entropy nor environment nor socket."""
