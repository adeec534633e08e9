"""Who asks, and may they? Bearer keys (RFC 6750) and scopes.

The key is looked at only after the guess limits allow it, on the event loop in some
microseconds. A missing, wrong and revoked key read alike.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from mailwright.accounts.directory import Credential, Scope
from mailwright.accounts.logins import Denied
from mailwright.api.ports import ApiPorts
from mailwright.api.problems import Kind, ProblemError

#: Only for the OpenAPI document and for taking the field apart; it decides nothing.
_BEARER: Final = HTTPBearer(
    auto_error=False, scheme_name="key", description="An API key: `Bearer mw_…`."
)
_CHALLENGE: Final = 'Bearer realm="mailwright"'


def require(
    ports: ApiPorts, scope: Scope, *others: Scope
) -> Callable[..., Awaitable[Credential]]:
    """Return the dependency that gives the asking credential, if it has ``scope``.

    One of ``others`` does as well.
    """

    async def credential(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> Credential:
        if bearer is None:
            raise _unauthorized(_CHALLENGE)
        # A Unix socket has no peer address: then only the account's limits count.
        ip = request.client.host if request.client else ""
        found = ports.keys.check_key(bearer.credentials, ip, ports.clock.steady())
        if isinstance(found, Denied):
            if found.wait_s > 0:
                raise ProblemError(
                    Kind.TOO_MANY,
                    "too many wrong keys, try again later",
                    retry_after_s=found.wait_s,
                )
            raise _unauthorized(f'{_CHALLENGE}, error="invalid_token"')
        if found.scopes.isdisjoint({scope, *others}):
            raise forbidden(scope)
        return found

    return credential


def forbidden(scope: Scope, detail: str = "") -> ProblemError:
    """Return the problem of a key without ``scope`` (RFC 6750 §3.1)."""
    challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'
    return ProblemError(
        Kind.FORBIDDEN,
        detail or f"needs the scope {scope}",
        headers={"WWW-Authenticate": challenge},
    )


def _unauthorized(challenge: str) -> ProblemError:
    return ProblemError(Kind.UNAUTHORIZED, headers={"WWW-Authenticate": challenge})
