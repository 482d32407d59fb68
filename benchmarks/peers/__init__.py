"""Other libraries of accounts, each as a small application of its own, to be measured beside the service."""
