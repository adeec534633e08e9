"""``/v1/settings``: see and change the shared settings; every version stays readable."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as PathParam
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mailwright.accounts.secret_files import SetupSecrets, sent_secrets
from mailwright.accounts.settings.administration import (
    Applied,
    BaseMovedError,
    UnfitError,
)
from mailwright.accounts.settings.document import plain_change
from mailwright.accounts.settings.history import Version
from mailwright.api.answers import NO_STORE, body_document
from mailwright.api.bodies import body_of
from mailwright.api.operating import Identify, Operator
from mailwright.api.ports import OperatorPorts
from mailwright.api.problems import (
    FieldError,
    Kind,
    Problem,
    ProblemError,
    field_errors,
    invalid,
)
from mailwright.config.problems import KeyPath, SettingsError, format_key
from mailwright.config.setup import SetupFile, validate_sent

PATH: Final = "/v1/settings"
_DEFAULT_VERSIONS: Final = 100


class SettingsIn(BaseModel):
    """The settings as they shall be; what is not in them is retired."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    settings: dict[str, Any] = Field(
        description="As `GET` gives them, which is a setup file in JSON; `base` is the"
        " version that they were read at"
    )
    files: dict[str, str] = Field(
        default_factory=dict,
        description="Content of each file that `settings` names (`key_file`,"
        " `secret_file`, `password_file`); none is read on the node",
        max_length=100_000,
    )
    reason: str = Field("", description="For the log", max_length=500)


@dataclass(frozen=True, slots=True)
class ChangeOut:
    """One change.

    Attributes:
        action: added, changed, retired, restored, revoked, proven or unproven.
        kind: of the thing, as the setup file calls it.
        fields: values of what was added; ``from`` and ``to`` of what changed.
        secret: ``new`` where it gets another secret.
    """

    action: str
    kind: str
    name: str
    fields: Mapping[str, Any]
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class AppliedOut:
    """What became of a change.

    Attributes:
        version: in force now.
        dry_run: nothing was written.
    """

    version: int
    dry_run: bool
    changes: Sequence[ChangeOut]


@dataclass(frozen=True, slots=True)
class VersionOut:
    """A version of the settings.

    Attributes:
        summary: what changed, in one line.
    """

    version: int
    at: datetime
    author: str
    reason: str
    summary: str


@dataclass(frozen=True, slots=True)
class VersionInFullOut:
    """A version of the settings with all that it changed.

    Attributes:
        settings: all settings after it; null where the change is of no setting.
    """

    version: int
    at: datetime
    author: str
    reason: str
    summary: str
    changes: Sequence[ChangeOut]
    settings: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class VersionsOut:
    """Versions, the newest first.

    Attributes:
        next: ``before`` of the next question; null at the end.
    """

    versions: Sequence[VersionOut]
    next: int | None


_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": Problem, "description": "Nothing was changed"}
}


def settings_router(ports: OperatorPorts, identify: Identify) -> APIRouter:
    """Return the routes of the settings."""
    router = APIRouter(tags=["settings"])
    operator = Depends(identify)
    administration = ports.administration

    @router.get(PATH, summary="See the shared settings", responses=_REFUSALS)
    async def get_settings(
        asking: Annotated[Operator, operator],
    ) -> JSONResponse:
        """Show what is in force, without secrets; put it back with `PUT` as it is."""
        return JSONResponse(await administration.document(), headers=NO_STORE)

    @router.put(
        PATH,
        summary="Change the shared settings",
        responses=_REFUSALS,
        openapi_extra=body_document("SettingsIn"),
    )
    async def put_settings(
        request: Request,
        asking: Annotated[Operator, operator],
        dry_run: Annotated[
            bool, Query(description="Only say what would change")
        ] = False,
    ) -> AppliedOut:
        """Bring the settings to what is sent. Doing it again changes nothing.

        What is retired can be brought back; queued mail that refers to it stays.
        """
        async with body_of(request, ports.budget, ports.limits()) as body:
            sent, setup, secrets = await asyncio.to_thread(_parsed, body)
        by = ports.by(asking.author, sent.reason)
        try:
            applied = await administration.apply(setup, secrets, by, dry_run=dry_run)
        except BaseMovedError as error:
            raise ProblemError(Kind.SETTINGS_CHANGED, str(error)) from error
        except UnfitError as error:
            raise invalid(
                *(
                    _error(each.key, f"{each.what}; {each.remedy}")
                    for each in error.complaints
                )
            ) from error
        return _applied(applied)

    _add_log(router, ports, identify)
    return router


def _add_log(router: APIRouter, ports: OperatorPorts, identify: Identify) -> None:
    operator = Depends(identify)

    @router.get(
        f"{PATH}/log", summary="See the versions of the settings", responses=_REFUSALS
    )
    async def get_log(
        asking: Annotated[Operator, operator],
        before: Annotated[
            int | None, Query(ge=1, le=2**62, description="`next` of the page before")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = _DEFAULT_VERSIONS,
    ) -> VersionsOut:
        """Show who changed what, when and why, the newest first."""
        found = await ports.administration.versions(before=before, limit=limit)
        is_last = len(found) < limit or found[-1].version == 1
        return VersionsOut(
            [VersionOut(*_head(each)) for each in found],
            None if is_last else found[-1].version,
        )

    @router.get(
        f"{PATH}/log/{{version}}", summary="See one version", responses=_REFUSALS
    )
    async def get_version(
        asking: Annotated[Operator, operator],
        version: Annotated[int, PathParam(ge=1, le=2**62)],
    ) -> VersionInFullOut:
        """Show all that one version changed, and the settings after it."""
        found = await ports.administration.version(version)
        if found is None:
            raise ProblemError(Kind.NOT_FOUND)
        changes = [_change(each) for each in found.changes]
        return VersionInFullOut(*_head(found.version), changes, found.settings)


def _parsed(body: bytes) -> tuple[SettingsIn, SetupFile, SetupSecrets]:
    try:
        sent = SettingsIn.model_validate_json(body)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise ProblemError(Kind.MALFORMED, "the body is not JSON") from error
        raise invalid(*field_errors(error)) from error
    try:
        setup = validate_sent(sent.settings)
        files = {name: text.encode() for name, text in sent.files.items()}
        return sent, setup, sent_secrets(setup, files)
    except SettingsError as error:
        raise invalid(
            *(
                FieldError(f"settings.{each.key}", f"{each.what}; {each.remedy}")
                for each in error.problems
            )
        ) from error


def _error(key: KeyPath, message: str) -> FieldError:
    return FieldError(f"settings.{format_key(key)}", message)


def _applied(applied: Applied) -> AppliedOut:
    changes = [_change(plain_change(each)) for each in applied.changes]
    return AppliedOut(applied.version, applied.is_dry_run, changes)


def _change(plain: Mapping[str, Any]) -> ChangeOut:
    return ChangeOut(
        plain["action"],
        plain["kind"],
        plain["name"],
        plain.get("fields", {}),
        plain.get("secret"),
    )


def _head(version: Version) -> tuple[int, datetime, str, str, str]:
    return (
        version.version,
        version.at,
        version.author,
        version.reason,
        version.summary,
    )
