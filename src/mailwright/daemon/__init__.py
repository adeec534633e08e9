"""Wiring and lifecycle: the one place that knows all rooms."""
