"""Load as people make it: scenarios for Locust, what they are held to, and what was at its limit meanwhile."""
