"""Providers: how a receiving side wants to be treated.

The numbers are data in ``providers/*.toml``, each with its source. A profile that a
provider does not limit itself inherits the default.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files

from mailwright.reputation.site import site_key
from mailwright.site import Pipelining, Profile, TlsDemand


class ProfileBook:
    """Knows the profile of every site.

    Args:
        default: for sites that belong to no provider we know.
    """

    def __init__(self, default: Profile) -> None:
        self._default = default

    def apply(self, retry_s: Sequence[float]) -> None:
        """Take over a new retry ladder; sites that are looked up from now on have it."""
        self._default = replace(self._default, retry=tuple(retry_s))

    def profile_of(self, hosts: Sequence[str]) -> Profile:
        """Return the profile for a site with these MX hosts, most preferred first."""
        return self._default

    def site_key(self, hosts: Sequence[str]) -> str:
        """Return the canonical name of a site with these MX hosts, in any order."""
        return site_key(hosts)


def load_default_profile(retry_s: Sequence[float]) -> Profile:
    """Return the shipped profile for everyone else; reads a small file.

    Args:
        retry_s: seconds between attempts, from the node's settings; the last repeats.
    """
    text = files(__package__).joinpath("providers", "default.toml").read_text("utf-8")
    table = tomllib.loads(text)
    return Profile(
        provider=table["provider"],
        connections=table["connections"],
        messages_per_connection=table["messages_per_connection"],
        pipelining=Pipelining(table["pipelining"]),
        tls=TlsDemand(table["tls"]),
        retry=tuple(retry_s),
    )
