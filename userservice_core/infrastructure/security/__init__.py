"""All that knows JWTs, hashes and ciphers."""
