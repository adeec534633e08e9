"""The node's settings file: schema, loading, units."""
