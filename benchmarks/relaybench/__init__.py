"""How fast a relay is, measured from outside, and how fast others are beside it."""
