"""Faults of the directory that let one tenant have what is another's; each is to be found."""

import pytest

from mailwright.accounts.directory import Directory


def any_pool(patch: pytest.MonkeyPatch) -> None:
    """Give everyone's pools to anyone."""
    patch.setattr(
        Directory, "pool_for", lambda self, _tenant, name: self.pools_by_name.get(name)
    )


def any_domain(patch: pytest.MonkeyPatch) -> None:
    """Let anyone send for everyone's domains."""
    patch.setattr(
        Directory,
        "sending_domain_for",
        lambda self, _tenant, domain: self.sending_domains.get(domain),
    )


def known_unproven(patch: pytest.MonkeyPatch) -> None:
    """Tell of everyone's domains that are not proven."""
    patch.setattr(
        Directory,
        "unproven_domain_for",
        lambda self, _tenant, domain: self.sending_domains.get(domain),
    )
