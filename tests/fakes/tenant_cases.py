"""What a case of the two-tenants matrix is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fakes.two_tenants import Ask, Side
from mailwright.accounts.directory import Scope

SEND, READ = frozenset({Scope.SEND}), frozenset({Scope.READ})


@dataclass(frozen=True)
class Probe:
    """A question about one thing, by its name or id.

    Attributes:
        of: which thing (see ``fakes.two_tenants.Side``).
        ask: makes the question about what has that name or id.
        nothing: the status when there is no such thing for the asker.
        prove: makes the question about an own thing, if it is to be another one; an own
            thing must be answered otherwise, or nothing was asked.
    """

    of: str
    ask: Callable[[str], Ask]
    nothing: int = 404
    prove: Callable[[str], Ask] | None = None


@dataclass(frozen=True)
class Case:
    """How a route is tried.

    Attributes:
        opens: a key with one of these scopes gets in; ``None``: it takes no key.
        plain: a request that names nothing, or something own.
        is_read: it changes nothing.
    """

    opens: frozenset[Scope] | None
    plain: Callable[[Side], Ask]
    probes: Sequence[Probe] = ()
    is_read: bool = False


def get(path: str, **params: str) -> Ask:
    return Ask("GET", path, params)
