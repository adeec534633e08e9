"""Whether sending domains are proven: is the key that signs published in DNS?

A domain with ``proof = "dns"`` becomes usable when the record of its primary key is
seen, and stops being so when it is seen to be gone: twice, ten minutes apart, unless an
operator asked. An answer that nobody could give changes nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from mailwright.accounts.changes import Authorship
from mailwright.accounts.directory import Directory, Proof, SendingDomain
from mailwright.accounts.live import LiveSettings
from mailwright.accounts.settings.administration import Administration
from mailwright.accounts.settings.records import domain_ref
from mailwright.accounts.signing_keys import PrivateKey
from mailwright.clock import Clock
from mailwright.resolver import Outcome, Resolver
from mailwright.store.ports import StoreError

logger = logging.getLogger(__name__)

#: Between looks at a domain that is proven, and at one that is not or is in doubt.
PROVEN_EVERY: Final = timedelta(days=1)
UNPROVEN_EVERY: Final = timedelta(minutes=10)
#: Questions to the resolver at once, and domains whose findings are stored together.
_AT_ONCE: Final = 8
_PAUSE_S: Final = 60.0


class Compared(Protocol):
    """What the records at a key's name mean."""

    @property
    def is_good(self) -> bool:
        """Whether receivers can verify what the key signs."""
        ...

    @property
    def text(self) -> str:
        """What was found and what to do about it, for people."""
        ...


class DkimRecords(Protocol):
    """Knows the records that publish keys. ``mta.dkim.records``."""

    def record_name(self, domain: str, selector: str) -> str:
        """Return the name at which the record is looked up."""
        ...

    def record_text(self, key: PrivateKey) -> str:
        """Return the record that publishes the public half of ``key``."""
        ...

    def compare(self, records: Sequence[bytes], key: PrivateKey) -> Compared:
        """Return whether ``records`` let receivers verify what ``key`` signs."""
        ...


@dataclass(frozen=True, slots=True)
class DomainReport:
    """What was found about one sending domain.

    Attributes:
        proof: ``dns`` or ``operator`` (who vouches for it, whatever was found).
        is_proven: mail from it is accepted.
        is_published: the record is there and right; null when it cannot be told.
        finding: what was found, for people.
        record_name: where the TXT record of its key belongs.
        record: what it has to say.
    """

    domain: str
    tenant: str
    proof: str
    is_proven: bool
    is_published: bool | None
    finding: str
    record_name: str = ""
    record: str = ""


@dataclass(frozen=True, slots=True)
class _Finding:
    """``is_published`` is ``None`` when DNS did not say."""

    is_published: bool | None
    text: str
    record_name: str = ""
    record: str = ""


def verdict_of(
    domain: SendingDomain, *, is_published: bool | None, is_doubted: bool
) -> bool | None:
    """Return whether ``domain`` is proven from now on; ``None``: as it was.

    ``is_doubted`` says that the last look did not find the record either. Pure.
    """
    if domain.proof is not Proof.DNS or is_published is None:
        return None
    if is_published == domain.is_proven:
        return None
    return is_published or (None if not is_doubted else False)


class Prover:
    """Looks at the domains of the settings in force and stores what it finds."""

    def __init__(
        self,
        live: LiveSettings,
        administration: Administration,
        resolver: Callable[[], Resolver],
        records: DkimRecords,
        clock: Clock,
    ) -> None:
        """``resolver`` gives one for each round, which remembers nothing of the last.

        Who has just published a record does not want to hear that it was not there.
        """
        self._live = live
        self._administration = administration
        self._resolver = resolver
        self._records = records
        self._clock = clock
        #: When to look again, by domain; what is not in it is looked at now.
        self._due_at: dict[str, datetime] = {}
        self._doubted: set[str] = set()
        self._seen_version = 0
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look soon: the settings changed."""
        self._wake.set()

    async def run(self) -> None:
        """Look at each domain when it is due, until cancelled."""
        while True:
            self._wake.clear()
            await self.look_at_due()
            try:
                async with asyncio.timeout(_PAUSE_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look_at_due(self) -> None:
        """Look at every domain that is due now."""
        directory = self._live.directory()
        self._note_version(directory)
        now, resolver = self._clock.now(), self._resolver()
        due = [
            each
            for each in directory.sending_domains.values()
            if each.proof is Proof.DNS and self._due_at.get(each.domain, now) <= now
        ]
        for start in range(0, len(due), _AT_ONCE):
            part = due[start : start + _AT_ONCE]
            try:
                await self._look(directory, part, resolver, self._is_doubted)
            except StoreError as error:
                logger.warning("what DNS says is not stored: %s", error)
                return

    async def check(self, domain: str | None = None) -> list[DomainReport]:
        """Look now at ``domain`` (A-labels), or at all, and act on it at once.

        Returns none when there is no such sending domain.

        Raises:
            StoreError: what was found could not be stored.
        """
        directory = self._live.directory()
        chosen = [
            each
            for name, each in sorted(directory.sending_domains.items())
            if domain is None or name == domain
        ]
        reports = []
        resolver = self._resolver()
        for start in range(0, len(chosen), _AT_ONCE):
            part = chosen[start : start + _AT_ONCE]
            found = await self._look(directory, part, resolver, lambda _: True)
            reports += [self._report(each, found[each.domain]) for each in part]
        return reports

    def _is_doubted(self, domain: SendingDomain) -> bool:
        return domain.domain in self._doubted

    def _note_version(self, directory: Directory) -> None:
        """Look anew at what may have become provable by a change of the settings."""
        if directory.version == self._seen_version:
            return
        self._seen_version = directory.version
        for name in list(self._due_at):
            found = directory.sending_domains.get(name)
            if found is None or not found.is_proven:
                del self._due_at[name]
                self._doubted.discard(name)

    async def _look(
        self,
        directory: Directory,
        domains: Sequence[SendingDomain],
        resolver: Resolver,
        is_doubted: Callable[[SendingDomain], bool],
    ) -> Mapping[str, _Finding]:
        async with asyncio.TaskGroup() as tasks:
            looks = {
                each.domain: tasks.create_task(self._find(each, resolver))
                for each in domains
            }
        findings = {name: look.result() for name, look in looks.items()}
        verdicts = {
            each: verdict
            for each in domains
            if (
                verdict := verdict_of(
                    each,
                    is_published=findings[each.domain].is_published,
                    is_doubted=is_doubted(each),
                )
            )
            is not None
        }
        if not verdicts or await self._store(directory, verdicts, findings):
            self._plan_next(domains, verdicts, findings)
        return findings

    async def _find(self, domain: SendingDomain, resolver: Resolver) -> _Finding:
        key = domain.primary_key
        if key is None:
            return _Finding(False, "it has no DKIM key; give it one in the setup file")
        secret = self._live.keys.dkim_key(domain.id, key.selector)
        if secret is None:
            why = self._live.keys.why_no_key(domain.id, key.selector)
            return _Finding(None, f"cannot be checked: {why}")
        name = self._records.record_name(secret.domain, secret.selector)
        record = self._records.record_text(secret.private_key)
        answer = await resolver.txt(name)
        if answer.outcome is Outcome.FAILED:
            return _Finding(None, f"cannot be checked: {answer.reason}", name, record)
        compared = self._records.compare(answer.records, secret.private_key)
        return _Finding(compared.is_good, compared.text, name, record)

    async def _store(
        self,
        directory: Directory,
        verdicts: Mapping[SendingDomain, bool],
        findings: Mapping[str, _Finding],
    ) -> bool:
        proven = {
            domain_ref(directory.tenants[each.tenant].name, each.domain): verdict
            for each, verdict in verdicts.items()
        }
        by = Authorship("node", "looked into DNS", self._clock.now())
        if not await self._administration.note_proofs(directory.version, proven, by):
            return False  # the settings changed meanwhile: it is looked at again
        for each, verdict in verdicts.items():
            if verdict:
                logger.info("sending domain %s is proven", each.domain)
            else:
                logger.warning(
                    "sending domain %s is not proven any more and its mail is refused: %s",
                    each.domain,
                    findings[each.domain].text,
                )
        # Ours was the last change: what it touched need not be looked at again.
        self._seen_version = self._live.directory().version
        return True

    def _plan_next(
        self,
        domains: Sequence[SendingDomain],
        verdicts: Mapping[SendingDomain, bool],
        findings: Mapping[str, _Finding],
    ) -> None:
        now = self._clock.now()
        for each in domains:
            is_published = findings[each.domain].is_published
            is_proven = verdicts.get(each, each.is_proven)
            every = PROVEN_EVERY if is_proven and is_published else UNPROVEN_EVERY
            self._due_at[each.domain] = now + every
            if is_proven and is_published is False and each.proof is Proof.DNS:
                if each.domain not in self._doubted:
                    logger.warning(
                        "sending domain %s: %s; it is looked at again in %s",
                        each.domain,
                        findings[each.domain].text,
                        UNPROVEN_EVERY,
                    )
                self._doubted.add(each.domain)
            elif is_published is not None:
                self._doubted.discard(each.domain)

    def _report(self, domain: SendingDomain, finding: _Finding) -> DomainReport:
        directory = self._live.directory()
        now = directory.sending_domains.get(domain.domain, domain)
        return DomainReport(
            domain.domain,
            directory.tenants[domain.tenant].name,
            domain.proof.value,
            now.is_proven,
            finding.is_published,
            finding.text,
            finding.record_name,
            finding.record,
        )
