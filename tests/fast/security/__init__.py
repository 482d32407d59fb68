"""Keys, tokens, hashes and ciphers: what is made is read back, and nothing else is taken."""
