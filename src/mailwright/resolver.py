"""DNS as a port."""
