"""What the use cases need from the world, one topic a module."""
