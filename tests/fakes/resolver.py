"""A resolver that knows what a test told it; everything else does not exist."""

from collections.abc import Sequence
from typing import Any

from mailwright.resolver import (
    AddressAnswer,
    Answer,
    MxAnswer,
    MxRecord,
    Outcome,
    TxtAnswer,
)

TTL_S = 300.0


class FakeResolver:
    """Implements ``mailwright.resolver.Resolver``.

    Attributes:
        asked: every question in order, as (type, name).
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self._mx: dict[str, MxAnswer] = {}
        self._v4: dict[str, AddressAnswer] = {}
        self._v6: dict[str, AddressAnswer] = {}
        self._txt: dict[str, TxtAnswer] = {}

    def set_mx(
        self, domain: str, *hosts: str | tuple[int, str], ttl_s: float = TTL_S
    ) -> None:
        """Give ``domain`` these hosts: names (preference 10, 20, …) or pairs."""
        records = tuple(
            MxRecord(10 * number, host)
            if isinstance(host, str)
            else MxRecord(host[0], host[1])
            for number, host in enumerate(hosts, 1)
        )
        ordered = sorted(records, key=lambda mx: (mx.preference, mx.host))
        self._mx[domain] = Answer(Outcome.FOUND, tuple(ordered), ttl_s)

    def set_null_mx(self, domain: str) -> None:
        """Say that ``domain`` takes no mail (RFC 7505)."""
        self._mx[domain] = Answer(Outcome.FOUND, (MxRecord(0, ""),), TTL_S)

    def set_addresses(
        self, host: str, *, v4: Sequence[str] = (), v6: Sequence[str] = ()
    ) -> None:
        """Give ``host`` addresses; a family without any is NO_DATA."""
        for answers, literals in ((self._v4, v4), (self._v6, v6)):
            outcome = Outcome.FOUND if literals else Outcome.NO_DATA
            answers[host] = Answer(outcome, tuple(literals), TTL_S)
        self._mx.setdefault(host, Answer(Outcome.NO_DATA, (), TTL_S))

    def set_txt(self, name: str, *texts: bytes) -> None:
        """Give ``name`` these TXT records."""
        self._txt[name] = Answer(Outcome.FOUND, texts, TTL_S)

    def fail(self, name: str, reason: str = "the resolver said SERVFAIL") -> None:
        """Let every question about ``name`` fail from now on."""
        failed: Answer[Any] = Answer(Outcome.FAILED, (), 10.0, reason)
        for answers in (self._mx, self._v4, self._v6, self._txt):
            answers[name] = failed

    async def mx(self, domain: str) -> MxAnswer:
        self.asked.append(("MX", domain))
        return self._mx.get(domain, _nothing())

    async def addresses(self, host: str, *, want_v6: bool = False) -> AddressAnswer:
        self.asked.append(("A+AAAA" if want_v6 else "A", host))
        v4 = self._v4.get(host, _nothing())
        v6 = self._v6.get(host, _nothing())
        if not want_v6 or v6.outcome is not Outcome.FOUND:
            return v4
        return Answer(Outcome.FOUND, v4.records + v6.records, TTL_S)

    async def txt(self, name: str) -> TxtAnswer:
        self.asked.append(("TXT", name))
        return self._txt.get(name, _nothing())


def _nothing() -> Answer[Any]:
    return Answer(Outcome.NO_DOMAIN, (), TTL_S, "no such domain")
