"""The files of `deploy/`: valid by the schemas of those who read them, and true of the code."""
