"""Providers: how a receiving side wants to be treated, and what makes it one site.

What a profile says comes in layers: the node's retry ladder, the shipped default, an
operator's changes to it, the provider's shipped profile, an operator's changes to that.
The files are data (``providers/*.toml``); a provider that publishes no limit inherits
the default.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mailwright.reputation.matching import DEFAULT, Belonging, Matching
from mailwright.reputation.provider_file import Provider, load_providers
from mailwright.reputation.site import site_key
from mailwright.reputation.treatment import (
    NOT_INHERITED,
    RETRY,
    Layer,
    Resolved,
    Treatment,
    resolve,
    stricter,
)
from mailwright.resolver import MxRecord
from mailwright.site import Profile


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a domain's mail goes and how it is treated there, with reasons.

    Attributes:
        key: of the site.
        belonging: whose the hosts are.
        resolved: every limit with the layer that it comes from.
    """

    key: str
    belonging: Belonging
    resolved: Resolved


class ProfileBook:
    """Knows the site and the profile of every domain.

    Args:
        providers: the shipped ones, with the default among them.
        retry_s: seconds between attempts where no profile says; the last one repeats.

    Attributes:
        providers: by name.
    """

    def __init__(self, providers: Sequence[Provider], retry_s: Sequence[float]) -> None:
        self.providers = {each.name: each for each in providers}
        self._matching = Matching({each.name: each.matchers for each in providers})
        self._sources = {_origin(each): each.sources for each in providers}
        self._retry_s = tuple(retry_s)
        self._overrides: Mapping[str, Treatment] = {}
        self._resolved: dict[str, Resolved] = {}
        self._profiles: dict[Belonging, Profile] = {}

    def apply(self, retry_s: Sequence[float]) -> None:
        """Take over a new retry ladder; sites that are looked up from now on have it."""
        self._retry_s = tuple(retry_s)
        self._forget()

    def override(self, overrides: Mapping[str, Treatment]) -> None:
        """Take over what operators say, by provider, instead of what they said before.

        Sites that are looked up from now on have it. A change to the default reaches
        every profile that inherits; one to a provider that is not known does nothing.
        """
        self._overrides = dict(overrides)
        self._forget()

    def place(self, domain: str, records: Sequence[MxRecord]) -> tuple[str, Profile]:
        """Return key and profile of the site of ``domain`` with these MX hosts.

        ``records`` (at least one) in any order. Domains with the same hosts have the
        same key, unless the provider depends on more than the hosts.
        """
        belonging = self._matching.of(domain, records)
        return _key(belonging, records), self._profile(belonging)

    def profile_of_host(self, host: str) -> Profile:
        """Return the profile for mail that someone routes to the MX host ``host``."""
        return self._profile(Belonging(self._matching.of_host(host) or DEFAULT))

    def default_profile(self) -> Profile:
        """Return the profile for everyone else."""
        return self._profile(Belonging(DEFAULT))

    def explain(self, domain: str, records: Sequence[MxRecord]) -> Placement:
        """Return what :meth:`place` answers, and why."""
        belonging = self._matching.of(domain, records)
        return Placement(_key(belonging, records), belonging, self._together(belonging))

    def provider_of(self, host: str) -> str:
        """Return the name of the provider that an MX host belongs to."""
        return self._matching.of_host(host) or DEFAULT

    def resolved(self, provider: str) -> Resolved:
        """Return how ``provider`` is treated, with the origin of each value.

        Raises:
            KeyError: there is no such provider.
        """
        known = self._resolved.get(provider)
        if known is None:
            layers = list(self._layers(self.providers[provider]))
            known = self._resolved[provider] = resolve(provider, layers)
        return known

    def source_of(self, resolved: Resolved, key: str) -> str:
        """Return who said a value of a shipped profile, or ``""``: we do not know."""
        return self._sources.get(resolved.origins[key], {}).get(key, "")

    def _layers(self, provider: Provider) -> Iterator[Layer]:
        yield Layer("the node's delivery.retry", {RETRY: self._retry_s})
        for layer in self._said_of(self.providers[DEFAULT]):
            inherited = {k: v for k, v in layer.says.items() if k not in NOT_INHERITED}
            yield Layer(layer.origin, inherited)
        if provider.name != DEFAULT:
            yield from self._said_of(provider)

    def _said_of(self, provider: Provider) -> Iterator[Layer]:
        yield Layer(_origin(provider), provider.says)
        changed = self._overrides.get(provider.name)
        if changed is not None:
            yield Layer(f"operator's change to {provider.name}", changed)

    def _together(self, belonging: Belonging) -> Resolved:
        resolved = self.resolved(belonging.provider)
        for other in belonging.others:
            resolved = stricter(resolved, self.resolved(other))
        return resolved

    def _profile(self, belonging: Belonging) -> Profile:
        # There are as many as combinations of providers that share a domain: few.
        known = self._profiles.get(belonging)
        if known is None:
            known = self._profiles[belonging] = self._together(belonging).profile()
        return known

    def _forget(self) -> None:
        self._resolved.clear()
        self._profiles.clear()


def load_profiles(retry_s: Sequence[float]) -> ProfileBook:
    """Return the book of the shipped providers; reads some twenty small files.

    Args:
        retry_s: seconds between attempts, from the node's settings; the last repeats.
    """
    return ProfileBook(load_providers(), retry_s)


def _origin(provider: Provider) -> str:
    return f"profile {provider.name}"


def _key(belonging: Belonging, records: Sequence[MxRecord]) -> str:
    key = site_key([record.host for record in records])
    return key if belonging.told_by_hosts else f"{key}@{belonging.provider}"
