"""Messages as octets."""
