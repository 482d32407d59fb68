"""The driven adapters, one package a role; they do not know each other."""
