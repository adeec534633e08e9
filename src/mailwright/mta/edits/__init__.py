"""The closed list of edits to a message, by octet range."""
