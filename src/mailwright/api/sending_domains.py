"""``/v1/sending-domains``: which From domains are proven, and what is missing in DNS."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query

from mailwright.accounts.proving import DomainReport
from mailwright.address import AddressError, canonical_domain
from mailwright.api.operating import Identify, Operator
from mailwright.api.ports import OperatorPorts
from mailwright.api.problems import FieldError, Kind, Problem, ProblemError, invalid

PATH: Final = "/v1/sending-domains"


@dataclass(frozen=True, slots=True)
class DomainsOut:
    """What was found about sending domains."""

    domains: Sequence[DomainReport]


_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "Nothing was looked at"}
}


def sending_domains_router(ports: OperatorPorts, identify: Identify) -> APIRouter:
    """Return the routes of sending domains."""
    router = APIRouter(tags=["sending domains"])
    operator = Depends(identify)

    @router.post(
        PATH + "/check", summary="Look into DNS for DKIM keys", responses=_REFUSALS
    )
    async def post_check(
        asking: Annotated[Operator, operator],
        domain: Annotated[
            str | None,
            Query(max_length=255, description="Only this one; otherwise all"),
        ] = None,
    ) -> DomainsOut:
        """Compare each record with the key that signs, and act on it at once.

        A domain with `proof = "dns"` becomes usable when its key is seen, and stops
        being so when another or none is published. When DNS does not answer, it stays
        what it was.
        """
        if domain is None:
            return DomainsOut(await ports.domains.check())
        try:
            name = canonical_domain(domain)
        except AddressError as error:
            raise invalid(FieldError("domain", "is not a domain")) from error
        found = await ports.domains.check(name)
        if not found:
            raise ProblemError(Kind.NOT_FOUND, "there is no such sending domain")
        return DomainsOut(found)

    return router
