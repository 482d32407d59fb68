"""Every port in the memory of the process."""
