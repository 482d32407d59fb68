"""Tables of the world, from the packages that keep them."""
