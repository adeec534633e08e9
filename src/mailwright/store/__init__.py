"""Durable state: one writing connection, group commit, units of work."""
