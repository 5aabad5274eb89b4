"""One token on a CPU: the fewest nodes, mediums only read."""
