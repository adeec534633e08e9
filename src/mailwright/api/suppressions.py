"""``/v1/suppressions``: who must not be mailed, by tenant and stream.

An address is asked about and never listed: what is kept is its subject. A key with the
scope ``manage`` sees and changes what is its tenant's; of everyone's suppressions, which
operators make, it sees that they stop its mail.
"""

import asyncio
import base64
import binascii
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as PathParam
from pydantic import ValidationError

from mailwright.accounts.directory import Directory
from mailwright.address import Address, AddressError, parse_address
from mailwright.api.answers import body_document
from mailwright.api.bodies import body_of
from mailwright.api.operations import Asks, Name
from mailwright.api.paths import SUPPRESSIONS
from mailwright.api.ports import OperatorPorts, SuppressionDoor
from mailwright.api.problems import (
    FieldError,
    Kind,
    Problem,
    ProblemError,
    field_errors,
    invalid,
)
from mailwright.api.queue_view import Asking
from mailwright.api.suppression_records import (
    ADDRESS_CHARS,
    AddedOut,
    CheckedOut,
    InvalidOut,
    RemovedOut,
    ScopeIn,
    SuppressionOut,
    SuppressionsIn,
    SuppressionsOut,
)
from mailwright.bounce.suppressing import Wanted
from mailwright.bounce.suppression import (
    EVERY_STREAM,
    EVERYONE,
    Cause,
    Place,
    Scope,
    Suppression,
)
from mailwright.ids import StreamId, TenantId

#: Whom a tenant is told of where an operator did it.
_OPERATOR: Final = "the operator"
_CURSOR: Final = struct.Struct(">q16sq")
_CURSOR_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "Nothing was done"}
}

Email: TypeAlias = Annotated[str, PathParam(max_length=ADDRESS_CHARS)]


def scope_in(
    tenant: Name = None,
    stream: Name = None,
    everyone: Annotated[bool, Query(description="All tenants'")] = False,
) -> ScopeIn:
    """Return the scope that the parameters of a question name."""
    return ScopeIn(tenant=tenant, everyone=everyone, stream=stream)


def suppressions_router(ports: OperatorPorts, asks: Asks) -> APIRouter:
    """Return the routes of suppressions."""
    router = APIRouter(tags=["suppressions"])
    who, scoped = Depends(asks), Depends(scope_in)
    door = ports.suppressions

    @router.post(
        SUPPRESSIONS,
        summary="Suppress addresses",
        responses=_REFUSALS,
        openapi_extra=body_document("SuppressionsIn"),
    )
    async def post_suppressions(
        request: Request, asking: Annotated[Asking, who]
    ) -> AddedOut:
        """What is queued for them ends as `suppressed`. Doing it again adds nothing.

        One that is suppressed already keeps its first reason, unless this one lasts
        longer. A bad address never spoils the rest.
        """
        async with body_of(request, ports.budget, ports.limits()) as body:
            sent = await asyncio.to_thread(_parsed, body)
            view = _View(door, asking)
            scope = view.scope(sent)
            cause = Cause(sent.reason.value, asking.author, sent.note, sent.ends_at)
            addresses, wrong = await asyncio.to_thread(_addresses, sent.addresses)
        added = await door.suppressions.add(addresses, scope, cause)
        return AddedOut(added, len(addresses) - added, wrong)

    @router.get(SUPPRESSIONS, summary="List suppressions", responses=_REFUSALS)
    async def get_suppressions(
        asking: Annotated[Asking, who],
        wanted: Annotated[ScopeIn, scoped],
        reason: Name = None,
        after: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> SuppressionsOut:
        """Those of one tenant, or everyone's, the oldest first; no addresses."""
        view = _View(door, asking)
        scope = view.scope(wanted)
        stream = None if scope.stream == EVERY_STREAM else scope.stream
        question = Wanted(scope.tenant, stream, reason)
        found = await door.suppressions.page(question, _place(after), limit + 1)
        more = _cursor(found[limit - 1].place) if len(found) > limit else None
        return SuppressionsOut([view.shown(each) for each in found[:limit]], more)

    _add_address_routes(router, door, asks)
    return router


def _add_address_routes(router: APIRouter, door: SuppressionDoor, asks: Asks) -> None:
    who, scoped = Depends(asks), Depends(scope_in)

    # `path`: a local part may hold a slash.
    @router.get(
        SUPPRESSIONS + "/{email:path}", summary="Check an address", responses=_REFUSALS
    )
    async def get_suppression(
        email: Email,
        asking: Annotated[Asking, who],
        tenant: Name = None,
    ) -> CheckedOut:
        """What stops mail to it: of the tenant, and of everyone."""
        view, address = _View(door, asking), _address(email)
        of = asking.tenant if tenant is None else view.tenant_named(tenant)
        return CheckedOut(address.canonical, await view.of(address, of))

    @router.delete(
        SUPPRESSIONS + "/{email:path}", summary="End a suppression", responses=_REFUSALS
    )
    async def delete_suppression(
        email: Email,
        asking: Annotated[Asking, who],
        wanted: Annotated[ScopeIn, scoped],
    ) -> RemovedOut:
        """Ends exactly the one that is named: of a stream, or of all of them.

        Somebody who left a stream is not brought back by ending another suppression.
        """
        view, address = _View(door, asking), _address(email)
        scope = view.scope(wanted)
        found = await door.suppressions.remove(address, scope, author=asking.author)
        of = None if scope.tenant == EVERYONE else scope.tenant
        left = await view.of(address, of)
        return RemovedOut(address.canonical, found is not None, left)


class _View:
    """Suppressions for one asker: names for ids, and what it may see of each."""

    def __init__(self, door: SuppressionDoor, asking: Asking) -> None:
        self._door = door
        self._tenant = asking.tenant
        self._directory: Directory = door.directory()

    def scope(self, wanted: ScopeIn) -> Scope:
        """Return the scope that ``wanted`` names.

        Raises:
            ProblemError: there is no such one for the asker, or it is not clear.
        """
        if wanted.everyone:
            return self._everyones(wanted)
        tenant = self._one_tenant(wanted.tenant)
        if wanted.stream is None:
            return Scope(tenant)
        stream = self._directory.streams_by_name.get((tenant, wanted.stream))
        if stream is None:
            raise invalid(FieldError("stream", "there is no such stream"))
        return Scope(tenant, stream.id)

    def _everyones(self, wanted: ScopeIn) -> Scope:
        if self._tenant is not None:
            raise ProblemError(Kind.FORBIDDEN, "everyone's are for operators")
        if wanted.tenant is not None or wanted.stream is not None:
            raise invalid(FieldError("everyone", "leaves no tenant or stream to name"))
        return Scope(EVERYONE)

    def _one_tenant(self, name: str | None) -> TenantId:
        if name is not None:
            return self.tenant_named(name)
        if self._tenant is not None:
            return self._tenant
        if len(self._directory.tenants) != 1:
            raise invalid(
                FieldError("tenant", "there are several tenants: name one, or everyone")
            )
        (only,) = self._directory.tenants
        return only

    def tenant_named(self, name: str) -> TenantId:
        """Return the id of a tenant; another than the asker's is none."""
        for tenant in self._directory.tenants.values():
            if tenant.name == name and self._tenant in {None, tenant.id}:
                return tenant.id
        raise invalid(FieldError("tenant", "there is no such tenant"))

    async def of(
        self, address: Address, tenant: TenantId | None
    ) -> list[SuppressionOut]:
        """Return what stops mail to ``address``, as the asker may see it."""
        found = await self._door.suppressions.of(address, tenant)
        return [self.shown(each) for each in found]

    def shown(self, each: Suppression) -> SuppressionOut:
        """Return how an answer shows a suppression."""
        scope, cause, names = each.scope, each.cause, self._directory
        is_foreign = scope.tenant == EVERYONE and self._tenant is not None
        return SuppressionOut(
            f"sub_{each.subject.hex()}",
            None if scope.tenant == EVERYONE else _name(names.tenants, scope.tenant),
            None
            if scope.stream == EVERY_STREAM
            else _name(names.streams, scope.stream),
            cause.reason,
            "" if is_foreign else cause.note,
            _OPERATOR if is_foreign else cause.author,
            each.created_at,
            cause.ends_at,
            each.is_provisional,
        )


def _name(found: Mapping[Any, Any], ident: TenantId | StreamId) -> str:
    named = found.get(ident)
    return "" if named is None else str(named.name)


def _parsed(body: bytes) -> SuppressionsIn:
    try:
        return SuppressionsIn.model_validate_json(body)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise ProblemError(Kind.MALFORMED, "the body is not JSON") from error
        raise invalid(*field_errors(error)) from error


def _addresses(texts: Sequence[str]) -> tuple[list[Address], list[InvalidOut]]:
    found, wrong = [], []
    for index, text in enumerate(texts):
        try:
            found.append(parse_address(text.strip()))
        except AddressError as error:
            wrong.append(InvalidOut(index, error.reason))
    return found, wrong


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except AddressError as error:
        raise invalid(FieldError("email", error.reason)) from error


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(_CURSOR.pack(*place)).decode().rstrip("=")


def _place(text: str) -> Place | None:
    if not text:
        return None
    if _CURSOR_TEXT.fullmatch(text) is None:
        raise invalid(FieldError("after", "is no cursor of ours"))
    try:
        at, subject, stream = _CURSOR.unpack(base64.urlsafe_b64decode(f"{text}="))
    except (binascii.Error, struct.error) as error:
        raise invalid(FieldError("after", "is no cursor of ours")) from error
    return at, subject, stream
