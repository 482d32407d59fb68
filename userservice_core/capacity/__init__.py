"""From measured figures and a target to what an installation needs: `userservice capacity`."""
