"""Who asks the routes for operators.

Two doors lead to these routes. Over the Unix socket in the state folder whoever may open
it is an operator: root, and the node's own user. Over HTTP it takes a key with the scope
``operate``; tenants' keys do not have it.
"""

import pwd
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from fastapi import Depends, Request

from mailwright.accounts.directory import Credential, Scope
from mailwright.api.authorization import require
from mailwright.api.ports import ApiPorts
from mailwright.api.problems import Kind, ProblemError

#: Comes before the uid where a peer of the Unix socket would have an address.
UID_PREFIX: Final = "uid:"


@dataclass(frozen=True, slots=True)
class Operator:
    """Who asks, as ``settings_log`` keeps it: ``cli:root``, ``api:console``."""

    author: str


#: A dependency of FastAPI that gives the asking operator, or refuses.
Identify: TypeAlias = Callable[..., Awaitable[Operator]]


def by_key(ports: ApiPorts) -> Identify:
    """Return the dependency that asks for a key with the scope ``operate``."""
    owner = Depends(require(ports, Scope.OPERATE))

    async def identify(credential: Annotated[Credential, owner]) -> Operator:
        return Operator(f"api:{credential.name}")

    return identify


def by_peer() -> Identify:
    """Return the dependency for the Unix socket: the server knows who connected."""

    async def identify(request: Request) -> Operator:
        host = "" if request.client is None else request.client.host
        if not host.startswith(UID_PREFIX):
            raise ProblemError(Kind.FORBIDDEN)
        return Operator(f"cli:{user_name(int(host.removeprefix(UID_PREFIX)))}")

    return identify


def user_name(uid: int) -> str:
    """Return the name of the user ``uid``, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
