"""SMTP in and out, routing, DKIM, editing and composing."""
