"""The SMTP grammar and sessions as pure functions of octets (RFC 5321)."""
