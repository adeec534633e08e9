"""Who asks about campaigns, and for which one.

Over HTTP it is the credential of the key. Over the operator's socket it is an operator who
acts as a credential that the query names: a campaign is always some tenant's, and sent with
the rights of a credential.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeAlias

from fastapi import Depends, Query

from mailwright.accounts.directory import Credential, Directory, Scope
from mailwright.api.authorization import require
from mailwright.api.campaigns.ports import Jobs
from mailwright.api.operating import Operator, by_peer
from mailwright.api.ports import ApiPorts
from mailwright.api.problems import FieldError, Kind, ProblemError, invalid
from mailwright.ids import CampaignId, TenantId, parse_public
from mailwright.ids import Kind as IdKind
from mailwright.queue.campaign.job import CampaignRecord, JobStateError

#: A dependency of FastAPI that gives the asking credential, or refuses.
Asks: TypeAlias = Callable[..., Awaitable[Credential]]
#: Makes that dependency for a scope.
Door: TypeAlias = Callable[[Scope], Asks]

_MAX_NAME: Final = 255


def by_key(ports: ApiPorts) -> Door:
    """Return the door for keys with a scope."""
    return lambda scope: require(ports, scope)


def by_operator(directory: Callable[[], Directory]) -> Door:
    """Return the door for operators, who act as a credential by name."""
    operator = Depends(by_peer())

    async def credential(
        asking: Annotated[Operator, operator],
        acting_as: Annotated[
            str | None,
            Query(
                alias="credential",
                max_length=_MAX_NAME,
                description="Whose campaign it is; not needed when there is only one",
            ),
        ] = None,
    ) -> Credential:
        known = directory().credentials
        if acting_as is None:
            if len(known) == 1:
                return next(iter(known.values()))
            raise invalid(FieldError("credential", "is needed: there are several"))
        found = known.get(acting_as)
        if found is None:
            raise invalid(FieldError("credential", "no such credential"))
        return found

    return lambda _scope: credential


async def campaign_of(jobs: Jobs, tenant: TenantId, text: str) -> CampaignRecord:
    """Return the campaign that clients know as ``text``.

    Raises:
        ProblemError: ``tenant`` has none so called.
    """
    public = parse_public(text, IdKind.CAMPAIGN)
    if public is None:
        raise ProblemError(Kind.NOT_FOUND)
    found = await jobs.get(tenant, CampaignId(public.number))
    if found is None or found.created_at.date() != public.day:
        raise ProblemError(Kind.NOT_FOUND)
    return found


def wrong_state(error: JobStateError) -> ProblemError:
    """Return the problem of a campaign in a state that does not allow what was asked."""
    return ProblemError(
        Kind.STATE, f"it is {error.state.value}, which does not allow: {error.doing}"
    )
