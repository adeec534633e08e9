"""Changing the shared settings: the one way in for files, commands and the API.

Every change reads what there is, plans on it, and commits guarded by the version that it
read. Two changes at once therefore never mix: one of them finds that its base moved.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mailwright.accounts import statements
from mailwright.accounts.changes import Authorship
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.ports import SettingsStore
from mailwright.accounts.sealing import Purpose, Sealer, SealError
from mailwright.accounts.secret_files import SetupSecrets
from mailwright.accounts.settings.comparison import (
    Action,
    Change,
    Difference,
    compare,
)
from mailwright.accounts.settings.credentials import (
    CredentialRequest,
    CredentialRow,
    credential_rows,
    new_credential,
    revocation,
    rotation,
)
from mailwright.accounts.settings.document import document_after, document_of
from mailwright.accounts.settings.history import (
    Version,
    VersionInFull,
    read_version,
    read_versions,
    version_of,
)
from mailwright.accounts.settings.present import Inventory, Present, read_inventory
from mailwright.accounts.settings.records import Kind, Record, Ref, records_of
from mailwright.accounts.settings.signing import KeyEnd, key_end
from mailwright.accounts.settings.writing import Writing, ids_needed
from mailwright.clock import to_micros
from mailwright.config.problems import Complaint, format_key
from mailwright.config.setup import SetupFile, unknown_providers
from mailwright.errors import MailwrightError
from mailwright.store.statements import Bound, Step, Unit

#: How often a command is planned anew when another change came between.
_TRIES: Final = 5


class UnfitError(MailwrightError):
    """What is wanted cannot be had from what there is; nothing was changed.

    Attributes:
        complaints: every reason, with the key of the setup file that wants it.
    """

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        super().__init__(
            "\n".join(
                f"{format_key(each.key)}: {each.what}; {each.remedy}"
                for each in complaints
            )
        )
        self.complaints = tuple(complaints)


class BaseMovedError(MailwrightError):
    """The settings are of another version than the change was made for.

    Attributes:
        base: the version that was meant, ``None``: whichever was there.
        version: the one in force.
    """

    def __init__(self, base: int | None, version: int) -> None:
        since = "meanwhile" if base is None else f"since version {base}"
        super().__init__(
            f"the settings changed {since} and are at version {version} now; look at "
            "`mailwright settings log`, export them again and repeat the change"
        )
        self.base = base
        self.version = version


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a change.

    Attributes:
        version: in force afterwards.
        changes: none: there was nothing to change, and no version was written.
        is_dry_run: nothing was written; ``changes`` are what would be.
    """

    version: int
    changes: tuple[Change, ...]
    is_dry_run: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """Changes on one inventory, ready to be written."""

    inventory: Inventory
    wanted: Mapping[Ref, Record]
    changes: tuple[Change, ...]


class Administration:
    """Reads, compares and changes the settings of one database.

    For the event loop; what takes long is done in threads. The node whose settings it
    changes has taken them over when a call returns.
    """

    def __init__(
        self,
        store: SettingsStore,
        live: LiveSettings,
        on_changed: Callable[[], None] = lambda: None,
        known_providers: Callable[[], Collection[str]] | None = None,
    ) -> None:
        """``on_changed`` is told once the node has taken a change over.

        ``known_providers`` names those that have a profile, in a thread; without it
        none is unknown.
        """
        self._known_providers = known_providers
        self._store = store
        self._live = live
        self._on_changed = on_changed

    async def document(self) -> dict[str, Any]:
        """Return what is in force as a setup file would say it, without secrets."""
        inventory = await read_inventory(self._store)
        return await asyncio.to_thread(document_of, inventory)

    async def versions(
        self, *, before: int | None = None, limit: int = 100
    ) -> list[Version]:
        """Return the versions of the settings, the newest first."""
        return await read_versions(self._store, before=before, limit=limit)

    async def version(self, number: int) -> VersionInFull | None:
        """Return one version with all that it changed."""
        return await read_version(self._store, number)

    async def apply(
        self,
        setup: SetupFile,
        secrets: SetupSecrets,
        by: Authorship,
        *,
        dry_run: bool = False,
    ) -> Applied:
        """Bring the settings to what ``setup`` says. Doing it again changes nothing.

        What ``setup`` does not name is retired. When it says what is in force already,
        its ``base`` does not matter.

        Raises:
            UnfitError: it wants what cannot be had.
            BaseMovedError: its ``base`` is not the version in force.
            StoreError: the change was rolled back.
        """
        inventory = await read_inventory(self._store)
        sealer = self._live.sealer

        def plan() -> tuple[dict[Ref, Record], Difference]:
            wanted = records_of(setup, secrets)
            difference = compare(wanted, inventory, _opening(sealer))
            if self._known_providers is None:
                return wanted, difference
            unknown = unknown_providers(setup, self._known_providers)
            complaints = (*difference.complaints, *unknown)
            return wanted, replace(difference, complaints=complaints)

        wanted, difference = await asyncio.to_thread(plan)
        if not difference.changes and not difference.complaints:
            return Applied(inventory.version, (), dry_run)
        # What is wrong with an old file is first of all that it is old.
        if setup.base is not None and setup.base != inventory.version:
            raise BaseMovedError(setup.base, inventory.version)
        if difference.complaints:
            raise UnfitError(difference.complaints)
        if dry_run:
            return Applied(inventory.version, difference.changes, is_dry_run=True)
        made = _Plan(inventory, wanted, difference.changes)
        applied = await self._commit(made, by)
        if applied is None:
            current = (await read_inventory(self._store)).version
            raise BaseMovedError(setup.base, current)
        return applied

    async def credentials(self) -> list[CredentialRow]:
        """Return the credentials in force, by name."""
        return credential_rows(await read_inventory(self._store))

    async def create_credential(
        self, request: CredentialRequest, secret_hash: bytes, by: Authorship
    ) -> None:
        """Create a credential.

        Raises:
            CredentialError: the request cannot be met; the text says what would do.
        """
        await self._repeated(lambda has: new_credential(has, request, secret_hash), by)

    async def rotate_credential(
        self, name: str, secret_hash: bytes, by: Authorship
    ) -> None:
        """Give a credential a new secret; the old one stops working at once.

        Raises:
            CredentialError: there is no such credential.
        """
        await self._repeated(lambda has: rotation(has, name, secret_hash), by)

    async def revoke_credential(self, name: str, by: Authorship) -> None:
        """Retire a credential for good; its queued mail stays queued.

        Raises:
            CredentialError: there is no such credential.
        """
        await self._repeated(lambda has: revocation(has, name), by)

    async def end_signing_key(self, wanted: KeyEnd, by: Authorship) -> None:
        """Retire a DKIM key, or revoke it for good.

        Raises:
            KeyEndError: it cannot be ended so; the text says what would do.
        """
        await self._repeated(lambda has: key_end(has, wanted), by)

    async def note_proofs(
        self, base: int, proven: Mapping[Ref, bool], by: Authorship
    ) -> bool:
        """Store for sending domains whether their proof is there now.

        Returns whether it did: not when the settings are no longer of version ``base``,
        on which the looking was done.
        """
        inventory = await read_inventory(self._store)
        at = to_micros(by.at)
        changes = tuple(
            Change(Action.PROVEN if is_proven else Action.UNPROVEN, ref)
            for ref, is_proven in proven.items()
            if ref in inventory.items
        )
        if inventory.version != base or not changes:
            return False
        bounds = [
            statements.UPDATE_PROVEN(
                row_id=inventory.items[change.ref].row,
                proven_at=at if change.action is Action.PROVEN else None,
            )
            for change in changes
        ]
        return await self._run(base, [*bounds, version_of(by, changes, None)])

    async def _repeated(
        self,
        plan: Callable[[Inventory], tuple[Mapping[Ref, Record], tuple[Change, ...]]],
        by: Authorship,
    ) -> None:
        """Plan and commit; plan anew when another change came between."""
        for _ in range(_TRIES):
            inventory = await read_inventory(self._store)
            wanted, changes = plan(inventory)
            if await self._commit(_Plan(inventory, wanted, changes), by) is not None:
                return
        raise BaseMovedError(None, self._live.directory().version)

    async def _commit(self, plan: _Plan, by: Authorship) -> Applied | None:
        """Write ``plan``; ``None`` when another change came between."""
        needed = ids_needed(plan.changes)
        ids = [self._store.ids.take() for _ in range(needed)]
        sealer = self._live.sealer

        def written() -> list[Bound]:
            writing = Writing(
                plan.wanted, plan.inventory, ids, sealer, to_micros(by.at)
            )
            after = document_after(plan.wanted, plan.inventory)
            return [
                *writing.statements(plan.changes),
                version_of(by, plan.changes, after),
            ]

        base = plan.inventory.version
        if not await self._run(base, await asyncio.to_thread(written)):
            return None
        return Applied(base + 1, plan.changes)

    async def _run(self, base: int, bounds: Sequence[Bound]) -> bool:
        guard = statements.SELECT_VERSION_IS(base=base)
        [found] = await self._store.run(Unit((Step(guard, tuple(bounds)),)))
        # If the caller goes away here, the node takes it over at its next look.
        await self.take_over()
        return bool(found)

    async def take_over(self) -> bool:
        """Let the node have the version in force; return whether it had another."""
        has_changed = await self._live.reload()
        if has_changed:
            self._on_changed()
        return has_changed


def _opening(sealer: Sealer) -> Callable[[Ref, Present], bytes]:
    """Return what opens a present secret, into the form that records have it in."""

    def opened(ref: Ref, present: Present) -> bytes:
        secret = present.secret or b""
        if ref.kind is Kind.CREDENTIAL:
            return secret
        purpose = Purpose.DKIM if ref.kind is Kind.DKIM_KEY else Purpose.SMARTHOST
        try:
            return sealer.open(purpose, secret)
        except SealError:
            return b""  # no secret is equal to it

    return opened
