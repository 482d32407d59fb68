"""All that knows dogpile and Redis."""
