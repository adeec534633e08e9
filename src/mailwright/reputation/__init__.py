"""Sites, providers, permits: what receivers let us do."""
