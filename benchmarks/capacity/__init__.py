"""What `userservice capacity` plans with, measured: what requests, memory and events cost, and how workers add up."""
