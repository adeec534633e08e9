"""★ How a provider is treated: what several layers say, made into one profile.

A treatment is what one file or one operator says, by the keys of a profile's file
(``"per_source.connections"``); silence leaves a key to the layer below. Every value of
the result knows the layer that it came from, for whoever asks why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from mailwright.site import Limits, Pipelining, Profile, TlsDemand

#: Values by key; a missing key is left to the layer below.
Treatment: TypeAlias = Mapping[str, Any]

SITE_CONNECTIONS: Final = "per_source_and_site.connections"
SITE_THROTTLES: Final = "per_source_and_site.throttles"
SOURCE_CONNECTIONS: Final = "per_source.connections"
SOURCE_THROTTLES: Final = "per_source.throttles"
OVERALL_CONNECTIONS: Final = "overall.connections"
OVERALL_THROTTLES: Final = "overall.throttles"
MESSAGES: Final = "messages_per_connection"
PIPELINING: Final = "pipelining"
TLS: Final = "tls"
RETRY: Final = "retry"

#: Every key of a treatment, in the order for people.
KEYS: Final = (
    SITE_CONNECTIONS,
    SITE_THROTTLES,
    SOURCE_CONNECTIONS,
    SOURCE_THROTTLES,
    OVERALL_CONNECTIONS,
    OVERALL_THROTTLES,
    MESSAGES,
    PIPELINING,
    TLS,
    RETRY,
)
#: What everyone else's sites together may take is no sum that means anything, so these
#: are never inherited from the default.
NOT_INHERITED: Final = frozenset(
    {SOURCE_CONNECTIONS, SOURCE_THROTTLES, OVERALL_CONNECTIONS, OVERALL_THROTTLES}
)
#: Without these there is no profile; the default has them all.
_INDISPENSABLE: Final = frozenset({SITE_CONNECTIONS, MESSAGES, PIPELINING, TLS, RETRY})

#: Mildest first.
_TLS_BY_STRICTNESS: Final = tuple(TlsDemand)
#: Most cautious first.
_PIPELINING_BY_CAUTION: Final = tuple(Pipelining)


@dataclass(frozen=True, slots=True)
class Layer:
    """One treatment and where it is from, for people: ``"profile google"``."""

    origin: str
    says: Treatment


@dataclass(frozen=True, slots=True)
class Resolved:
    """A treatment in which nothing indispensable is missing.

    Attributes:
        provider: whose.
        values: by key; what limits nothing is missing.
        origins: of each value.
    """

    provider: str
    values: Treatment
    origins: Mapping[str, str]

    def profile(self) -> Profile:
        """Return it as the profile that sessions and permits work with."""
        per_source = self._limits(SOURCE_CONNECTIONS, SOURCE_THROTTLES)
        overall = self._limits(OVERALL_CONNECTIONS, OVERALL_THROTTLES)
        per_site = self._limits(SITE_CONNECTIONS, SITE_THROTTLES)
        connections = (each.connections for each in (per_site, per_source, overall))
        values = self.values
        return Profile(
            provider=self.provider,
            connections=min(each for each in connections if each is not None),
            messages_per_connection=values[MESSAGES],
            pipelining=values[PIPELINING],
            tls=values[TLS],
            retry=values[RETRY],
            throttles=per_site.throttles,
            per_source=per_source,
            overall=overall,
        )

    def _limits(self, connections: str, throttles: str) -> Limits:
        return Limits(self.values.get(connections), self.values.get(throttles, ()))


def resolve(provider: str, layers: Sequence[Layer]) -> Resolved:
    """Return what ``layers`` say together; a later one prevails, key by key.

    Raises:
        ValueError: they leave open what a profile needs.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        for key, value in layer.says.items():
            values[key] = value
            origins[key] = layer.origin
    missing = sorted(_INDISPENSABLE - values.keys())
    if missing:
        raise ValueError(f"nothing says {', '.join(missing)}")
    return Resolved(provider, values, origins)


def stricter(one: Resolved, other: Resolved) -> Resolved:
    """Return ``one`` with whatever ``other`` is stricter in; the retry ladder stays.

    For a site whose hosts belong to two providers: mail may reach either.
    """
    values, origins = dict(one.values), dict(one.origins)
    for key, theirs in other.values.items():
        if key == RETRY:
            continue
        ours = values.get(key)
        value = theirs if ours is None else _stricter_value(key, ours, theirs)
        if value == ours:
            continue
        values[key] = value
        origin = other.origins[key]
        origins[key] = origin if value == theirs else f"{origins[key]}; {origin}"
    return Resolved(one.provider, values, origins)


def _stricter_value(key: str, ours: Any, theirs: Any) -> Any:
    match key:
        case _ if key.endswith("throttles"):
            # Every one of them has to agree, so together they are the strictest.
            return (*ours, *(each for each in theirs if each not in ours))
        case _ if key == TLS:
            return max(ours, theirs, key=_TLS_BY_STRICTNESS.index)
        case _ if key == PIPELINING:
            return min(ours, theirs, key=_PIPELINING_BY_CAUTION.index)
        case _:
            return min(cast("int", ours), cast("int", theirs))
