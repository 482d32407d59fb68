"""The hosts: thin translations between a framework and the HTTP core."""
