"""A captive internet to rehearse against: DNS and receivers."""
