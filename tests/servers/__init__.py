"""The real servers that tests start: on loopback, in a folder of the run, ended by their own process ids."""
