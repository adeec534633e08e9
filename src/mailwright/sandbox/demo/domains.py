"""★ The domains that the demo mails to, and how much of the mail is for each.

Losing connections is asked for in the recipient's local part, once for each recipient
(:mod:`mailwright.sandbox.behaviour`): at RCPT, amid the content, and after the final dot
without having taken the message. No receiver here takes a message and then hides it, so
that every second copy is one too many.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mailwright.address import canonical_domain
from mailwright.sandbox.behaviour import Behaviour, TlsOffer
from mailwright.sandbox.dns import NULL_MX
from mailwright.sandbox.internet import SandboxDomain

_SHARED_HOSTS: Final = ("mx1.hosting.test", "mx2.hosting.test")


class Treatment(Enum):
    """What is done on our side with mail for a domain."""

    ORDINARY = "ordinary"
    EXPIRES = "expires"  # sent with a near end
    SUPPRESSED = "suppressed"  # its recipients have left
    UNSTEADY = "unsteady"  # its receivers are asked to lose connections


@dataclass(frozen=True, slots=True)
class DemoDomain:
    """A domain that the demo mails to.

    Attributes:
        name: as people write it.
        temper: what is special about it, for people; at most 18 characters.
        weight: its share of the recipients.
        receives: how; ``None``: the domain does not exist.
        treatment: what is done with mail for it.
    """

    name: str
    temper: str
    weight: int
    receives: SandboxDomain | None
    treatment: Treatment = Treatment.ORDINARY

    @property
    def label(self) -> str:
        """The name in A-labels, as in every address on the wire."""
        return canonical_domain(self.name)


def _domain(
    name: str,
    temper: str,
    weight: int,
    behaviour: Behaviour | None = None,
    hosts: tuple[str, ...] = (),
    treatment: Treatment = Treatment.ORDINARY,
) -> DemoDomain:
    receives = SandboxDomain(canonical_domain(name), behaviour or Behaviour(), hosts)
    return DemoDomain(name, temper, weight, receives, treatment)


CAST: Final = (
    _domain("mail.test", "takes mail, TLS", 20),
    _domain("post.test", "takes mail, no TLS", 12, Behaviour(tls=TlsOffer.NONE)),
    _domain("alpha.test", "shares its MX", 9, hosts=_SHARED_HOSTS),
    _domain("beta.test", "with this one", 9, hosts=_SHARED_HOSTS),
    _domain("почта.test", "beyond ASCII", 6),
    _domain("oldtls.test", "broken TLS", 4, Behaviour(tls=TlsOffer.BROKEN)),
    _domain("greylist.test", "greylists for 2 s", 9, Behaviour(greylist_s=2.0)),
    _domain("busy.test", "451 twice, then ok", 7, Behaviour(defer_first=2)),
    _domain("picky.test", "550 to some users", 8, Behaviour(refuse_share=0.3)),
    _domain(
        "slow.test",
        "answers slowly",
        4,
        Behaviour(banner_delay_s=0.5, reply_delay_s=0.1),
    ),
    _domain("flaky.test", "loses connections", 4, treatment=Treatment.UNSTEADY),
    _domain(
        "never.test",
        "always 451",
        2,
        Behaviour(defer_first=None),
        treatment=Treatment.EXPIRES,
    ),
    DemoDomain(
        "nomail.test", "null MX", 2, SandboxDomain("nomail.test", records=NULL_MX)
    ),
    DemoDomain("gone.test", "no such domain", 2, None),
    _domain("left.test", "suppressed", 2, treatment=Treatment.SUPPRESSED),
)


def sandbox_domains() -> Iterator[SandboxDomain]:
    """Yield what the captive internet has to have."""
    for domain in CAST:
        if domain.receives is not None:
            yield domain.receives
