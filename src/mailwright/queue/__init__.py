"""Deliveries, lines, lanes, retries: what leaves next."""
