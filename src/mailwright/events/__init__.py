"""Event types, the append-only log, cursors."""
