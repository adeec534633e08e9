"""SMTP submission: the hardened aiosmtpd door."""
