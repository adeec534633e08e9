"""Tenants, credentials, sending domains and their keys, shared settings."""
