"""``/v1/sending-domains``: which From domains are proven, and the end of their keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from fastapi import Path as PathParam
from pydantic import BaseModel, ConfigDict, Field

from mailwright.accounts.proving import DomainReport
from mailwright.accounts.settings.administration import BaseMovedError
from mailwright.accounts.settings.signing import KeyEnd, KeyEndError
from mailwright.address import AddressError, canonical_domain
from mailwright.api.operating import Identify, Operator
from mailwright.api.ports import OperatorPorts
from mailwright.api.problems import FieldError, Kind, Problem, ProblemError, invalid

PATH: Final = "/v1/sending-domains"
_MAX_CHARS: Final = 255


class KeyEndIn(BaseModel):
    """How a key ends."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    replacement: str | None = Field(
        None,
        description="Selector of the key that signs from now on, if this one does now",
        max_length=_MAX_CHARS,
    )
    may_leave_none: bool = Field(
        False,
        description="No key need sign afterwards: bulk mail is refused, and what was"
        " signed with this one waits. Only for `revoke`",
    )
    reason: str = Field("", description="For the log", max_length=500)


@dataclass(frozen=True, slots=True)
class KeyEndOut:
    """A key that has ended.

    Attributes:
        replacement: the key that signs in its place; null where none need.
    """

    domain: str
    selector: str
    ended: Literal["retired", "revoked"]
    replacement: str | None


@dataclass(frozen=True, slots=True)
class DomainsOut:
    """What was found about sending domains."""

    domains: Sequence[DomainReport]


_KEY: Final = PATH + "/{domain}/keys/{selector}"
Name = Annotated[str, PathParam(max_length=_MAX_CHARS)]
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
        found = await ports.domains.check(_domain(domain))
        if not found:
            raise ProblemError(Kind.NOT_FOUND, "there is no such sending domain")
        return DomainsOut(found)

    _add_keys(router, ports, identify)
    return router


def _add_keys(router: APIRouter, ports: OperatorPorts, identify: Identify) -> None:
    operator = Depends(identify)

    async def end(wanted: KeyEnd, sent: KeyEndIn, asking: Operator) -> KeyEndOut:
        what = "revoked" if wanted.is_revoked else "retired"
        reason = sent.reason or f"dkim key {what}"
        try:
            await ports.administration.end_signing_key(
                wanted, ports.by(asking.author, reason)
            )
        except KeyEndError as error:
            raise invalid(FieldError(error.field, str(error))) from error
        except BaseMovedError as error:
            raise ProblemError(Kind.SETTINGS_CHANGED, str(error)) from error
        return KeyEndOut(
            wanted.domain,
            wanted.selector,
            "revoked" if wanted.is_revoked else "retired",
            wanted.replacement,
        )

    @router.post(_KEY + "/retire", summary="Retire a DKIM key", responses=_REFUSALS)
    async def post_retire(
        domain: Name,
        selector: Name,
        sent: KeyEndIn,
        asking: Annotated[Operator, operator],
    ) -> KeyEndOut:
        """Accept nothing more with a key. What was accepted is still signed with it.

        Keep its record in DNS until that mail has arrived.
        """
        wanted = KeyEnd(_domain(domain), selector, False, sent.replacement)
        return await end(wanted, sent, asking)

    @router.post(_KEY + "/revoke", summary="Revoke a DKIM key", responses=_REFUSALS)
    async def post_revoke(
        domain: Name,
        selector: Name,
        sent: KeyEndIn,
        asking: Annotated[Operator, operator],
    ) -> KeyEndOut:
        """Sign nothing more with a key, for good, not even what waits.

        What was accepted with it is signed with the domain's key in force, and the
        event says so; without one it waits. For a key that others may have.
        """
        wanted = KeyEnd(
            _domain(domain), selector, True, sent.replacement, sent.may_leave_none
        )
        return await end(wanted, sent, asking)


def _domain(text: str) -> str:
    try:
        return canonical_domain(text)
    except AddressError as error:
        raise invalid(FieldError("domain", "is not a domain")) from error
