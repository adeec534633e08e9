"""The setup file: what all nodes share, as ``mailwright apply`` takes it.

Tables refer to each other by name; every reference is checked here, so that whoever
applies the file meets no dangling one. Files that it names (keys, secrets) are not read.
"""

from collections.abc import (
    Callable,
    Collection,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from mailwright.config.explain import problems_of
from mailwright.config.nearest import did_you_mean
from mailwright.config.problems import Complaint, SettingsError
from mailwright.config.section import Count, Network, Section, refuse, setting
from mailwright.config.setup_accounts import (
    CredentialSection,
    StreamSection,
    TenantSection,
)
from mailwright.config.setup_domains import SendingDomainSection
from mailwright.config.setup_limits import ProviderSection, ThrottleSection
from mailwright.config.setup_paths import PoolSection, RouteSection, SourceSection


class SetupFile(Section):
    """The setup file."""

    base: Count | None = setting(
        None,
        text="Version of the settings that this file was exported from; applying it is "
        "refused when they changed since.",
        example=7,
        unit="version",
        ge=1,
    )
    allowed_networks: tuple[Network, ...] = setting(
        (),
        text="Networks that mail may be sent to although they are not globally routable, "
        "such as a smarthost's.",
        example=["10.0.5.0/24"],
        max_length=1000,
    )
    tenant: tuple[TenantSection, ...] = setting(
        (), text="A tenant; repeat it for more.", example=[], sample=True
    )
    source: tuple[SourceSection, ...] = setting(
        (), text="A sending address; repeat it for more.", example=[], sample=True
    )
    pool: tuple[PoolSection, ...] = setting(
        (), text="A pool of sources; repeat it for more.", example=[], sample=True
    )
    stream: tuple[StreamSection, ...] = setting(
        (), text="A stream; repeat it for more.", example=[], sample=True
    )
    credential: tuple[CredentialSection, ...] = setting(
        (), text="A credential; repeat it for more.", example=[], sample=True
    )
    sending_domain: tuple[SendingDomainSection, ...] = setting(
        (), text="A From domain; repeat it for more.", example=[], sample=True
    )
    route: tuple[RouteSection, ...] = setting(
        (), text="A next hop instead of MX; repeat it for more.", example=[]
    )
    throttle: tuple[ThrottleSection, ...] = setting(
        (), text="A limit on what leaves; repeat it for more.", example=[]
    )
    provider: tuple[ProviderSection, ...] = setting(
        (), text="Changes to a provider's profile; repeat it for more.", example=[]
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        refuse([*_repeated(self), *_dangling(self), *_misplaced(self)], "setup")
        return self


def _repeated(setup: SetupFile) -> Iterator[Complaint]:
    """Yield what is named twice although its name must be its own."""
    keyed: Iterable[tuple[str, str, Sequence[Hashable]]] = (
        ("tenant", "name", [each.name for each in setup.tenant]),
        ("source", "name", [each.name for each in setup.source]),
        # Two sources of one address would be two reputations for one.
        ("source", "address", [each.address or id(each) for each in setup.source]),
        ("pool", "name", [each.name for each in setup.pool]),
        ("stream", "name", [(each.tenant, each.name) for each in setup.stream]),
        ("credential", "name", [each.name for each in setup.credential]),
        ("sending_domain", "domain", [each.domain for each in setup.sending_domain]),
        ("route", "domain", [each.domain for each in setup.route]),
        ("throttle", "name", [each.title for each in setup.throttle]),
        ("provider", "name", [each.name for each in setup.provider]),
    )
    for section, key, values in keyed:
        first: dict[Hashable, int] = {}
        for index, value in enumerate(values):
            if first.setdefault(value, index) != index:
                yield Complaint(
                    (section, index, key),
                    f"is the same as in {section}[{first[value]}]",
                    "give it another, or remove one of the two",
                )


def _dangling(setup: SetupFile) -> Iterator[Complaint]:
    """Yield references to what the file does not define."""
    tenants = [each.name for each in setup.tenant]
    sources = [each.name for each in setup.source]
    pools = [each.name for each in setup.pool]
    for section, owners in (
        ("stream", [each.tenant for each in setup.stream]),
        ("credential", [each.tenant for each in setup.credential]),
        ("sending_domain", [each.tenant for each in setup.sending_domain]),
    ):
        for index, owner in enumerate(owners):
            if owner not in tenants:
                yield _unknown((section, index, "tenant"), owner, tenants)
    for index, pool in enumerate(setup.pool):
        for name in pool.sources:
            if name not in sources:
                yield _unknown(("pool", index, "sources", name), name, sources)
        if pool.overflow is not None and pool.overflow not in pools:
            yield _unknown(("pool", index, "overflow"), pool.overflow, pools)
    for index, stream in enumerate(setup.stream):
        if stream.pool not in pools:
            yield _unknown(("stream", index, "pool"), stream.pool, pools)
    for index, credential in enumerate(setup.credential):
        streams = [
            each.name for each in setup.stream if each.tenant == credential.tenant
        ]
        if credential.stream not in streams:
            yield _unknown(
                ("credential", index, "stream"),
                credential.stream,
                streams,
                of=f" of tenant {credential.tenant}",
            )
    yield from _dangling_throttles(setup)


def _dangling_throttles(setup: SetupFile) -> Iterator[Complaint]:
    """Yield references of throttles to what the file does not define."""
    tenants = [each.name for each in setup.tenant]
    sources = [each.name for each in setup.source]
    credentials = [each.name for each in setup.credential]
    for index, throttle in enumerate(setup.throttle):
        streams = [each.name for each in setup.stream if each.tenant == throttle.tenant]
        for key, name, known in (
            ("tenant", throttle.tenant, tenants),
            ("source", throttle.source, sources),
            ("credential", throttle.credential, credentials),
            ("stream", throttle.stream, streams),
        ):
            if name is not None and name not in known:
                of = f" of tenant {throttle.tenant}" if key == "stream" else ""
                yield _unknown(("throttle", index, key), name, known, of)


def _unknown(
    key: tuple[str | int, ...], name: str, known: Sequence[str], of: str = ""
) -> Complaint:
    """Return the complaint about a reference, with the nearest name that would do."""
    section = "source" if "sources" in key else str(key[-1])
    section = "pool" if section == "overflow" else section
    return Complaint(
        key,
        f'there is no {section} "{name}"{of}',
        did_you_mean(name, known) or f"define it in [[{section}]]",
    )


def _misplaced(setup: SetupFile) -> Iterator[Complaint]:
    """Yield references that exist but cannot work."""
    overflow = {pool.name: pool.overflow for pool in setup.pool}
    for index, pool in enumerate(setup.pool):
        seen = set()
        after: str | None = pool.name
        while after is not None and after not in seen:
            seen.add(after)
            after = overflow.get(after)
        if after == pool.name:
            yield Complaint(
                ("pool", index, "overflow"),
                "the pools overflow into each other in a circle",
                "let the last of them have none",
            )
    tenant_of: dict[str, str] = {}
    for index, each in enumerate(setup.sending_domain):
        # A reverse-path's domain is what tells whose bounce it is.
        owner = tenant_of.setdefault(each.return_path_domain, each.tenant)
        if owner != each.tenant:
            yield Complaint(
                ("sending_domain", index, "return_path_domain"),
                f"{each.return_path_domain} is used by tenant {owner}",
                "give each tenant its own return-path domains",
            )


def unknown_providers(
    setup: SetupFile, known: Callable[[], Collection[str]]
) -> list[Complaint]:
    """Return complaints about providers that no profile is for; ``known`` names all.

    ``known`` is only called if a provider is named.
    """
    named = [
        (("provider", index, "name"), each.name)
        for index, each in enumerate(setup.provider)
    ] + [
        (("throttle", index, "provider"), each.provider)
        for index, each in enumerate(setup.throttle)
        if each.provider is not None
    ]
    if not named:
        return []
    names = sorted(known())
    return [
        Complaint(
            key,
            f'there is no provider "{name}"',
            did_you_mean(name, names) or "see: mailwright provider list",
        )
        for key, name in named
        if name not in names
    ]


def validate_sent(data: Mapping[str, Any]) -> SetupFile:
    """Return ``data``, a setup file that came over a wire; its paths stay as written.

    Raises:
        SettingsError: with every problem at once.
    """
    try:
        return SetupFile.model_validate(data)
    except ValidationError as error:
        problems = problems_of(error, SetupFile, Path("settings"))
        raise SettingsError(problems) from None
