"""``/v1/credentials``: make, list, rotate and revoke API keys and SMTP logins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Depends, Response
from fastapi import Path as PathParam
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from mailwright.accounts.authentication import make_secret
from mailwright.accounts.settings.administration import BaseMovedError
from mailwright.accounts.settings.credentials import (
    DEFAULT_SCOPES,
    CredentialError,
    CredentialRequest,
    CredentialRow,
    check_name,
)
from mailwright.api.answers import NO_STORE
from mailwright.api.operating import Identify, Operator
from mailwright.api.ports import OperatorPorts
from mailwright.api.problems import FieldError, Kind, Problem, ProblemError, invalid

PATH: Final = "/v1/credentials"
_MAX_CHARS: Final = 255


Limit: TypeAlias = Annotated[int | None, Field(ge=1, le=10**12)]


class CredentialIn(BaseModel):
    """A credential to create."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str = Field(
        description="Unique among all tenants; also the SMTP login",
        max_length=_MAX_CHARS,
    )
    tenant: str = Field("", max_length=_MAX_CHARS)
    stream: str = Field(
        "", description="Of the tenant; for mail that names none", max_length=_MAX_CHARS
    )
    scopes: list[str] = Field(
        default_factory=lambda: [each.value for each in DEFAULT_SCOPES],
        description="Of send, control, read, manage, operate",
        max_length=20,
    )
    hourly_limit: Limit = Field(
        None, description="Recipients an hour; what is over it is accepted and paced"
    )
    daily_quota: Limit = Field(
        None, description="Recipients a day; what is over it gets 452"
    )
    backlog_limit: Limit = Field(
        None, description="Deliveries queued at once; what is over it gets 452"
    )
    dsn: str | None = Field(
        None,
        description="DSNs to the reverse-path: all, transactional or none",
        max_length=_MAX_CHARS,
    )


@dataclass(frozen=True, slots=True)
class SecretOut:
    """A credential's secret: the API key, and the password of the SMTP login.

    Attributes:
        secret: shown here once and kept nowhere.
    """

    name: str
    secret: str


@dataclass(frozen=True, slots=True)
class CredentialsOut:
    """The credentials in force."""

    credentials: Sequence[CredentialRow]


_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "Nothing was changed"}
}
Name = Annotated[str, PathParam(max_length=_MAX_CHARS)]


def credentials_router(ports: OperatorPorts, identify: Identify) -> APIRouter:
    """Return the routes of credentials.

    Creating one takes no ``Idempotency-Key``: a kept answer would keep the secret. A
    repeated request is told that the name exists.
    """
    router = APIRouter(tags=["credentials"])
    operator = Depends(identify)
    administration = ports.administration

    @router.get(PATH, summary="List the credentials", responses=_REFUSALS)
    async def get_credentials(
        asking: Annotated[Operator, operator],
    ) -> CredentialsOut:
        """Show the credentials of all tenants; no secrets."""
        return CredentialsOut(await administration.credentials())

    @router.post(
        PATH,
        status_code=201,
        summary="Create a credential",
        responses={**_REFUSALS, 201: {"model": SecretOut}},
        response_model=None,
    )
    async def post_credential(
        sent: CredentialIn, asking: Annotated[Operator, operator]
    ) -> Response:
        """Create a credential and show its secret, once."""
        request = CredentialRequest(
            sent.name,
            sent.tenant,
            sent.stream,
            sent.scopes,
            sent.hourly_limit,
            sent.daily_quota,
            sent.backlog_limit,
            sent.dsn,
        )
        try:
            check_name(sent.name)
            secret, secret_hash = make_secret(sent.name)
            by = ports.by(asking.author, "key create")
            await administration.create_credential(request, secret_hash, by)
        except (CredentialError, BaseMovedError) as error:
            raise _refused(error) from error
        return _secret(sent.name, secret, 201)

    @router.post(
        PATH + "/{name}/secret",
        summary="Give a credential a new secret",
        responses={**_REFUSALS, 200: {"model": SecretOut}},
        response_model=None,
    )
    async def post_secret(
        name: Name, asking: Annotated[Operator, operator]
    ) -> Response:
        """Make a new secret and show it, once; the old one stops working."""
        try:
            check_name(name)
            secret, secret_hash = make_secret(name)
            by = ports.by(asking.author, "key create --rotate")
            await administration.rotate_credential(name, secret_hash, by)
        except (CredentialError, BaseMovedError) as error:
            raise _refused(error) from error
        return _secret(name, secret, 200)

    @router.delete(
        PATH + "/{name}",
        status_code=204,
        summary="Revoke a credential",
        responses=_REFUSALS,
        response_model=None,
    )
    async def delete_credential(
        name: Name, asking: Annotated[Operator, operator]
    ) -> Response:
        """Revoke a credential for good; its queued mail stays queued."""
        try:
            await administration.revoke_credential(
                name, ports.by(asking.author, "key revoke")
            )
        except (CredentialError, BaseMovedError) as error:
            raise _refused(error) from error
        return Response(status_code=204)

    return router


def _secret(name: str, secret: str, status: int) -> Response:
    return JSONResponse({"name": name, "secret": secret}, status, headers=NO_STORE)


def _refused(error: CredentialError | BaseMovedError) -> ProblemError:
    if isinstance(error, BaseMovedError):
        return ProblemError(Kind.SETTINGS_CHANGED, str(error))
    return invalid(FieldError(error.field, str(error)))
