"""Tables of the setup file about sending domains and their keys."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import model_validator

from mailwright.config.problems import Complaint
from mailwright.config.section import (
    Domain,
    FilePath,
    Kept,
    Name,
    Section,
    Selector,
    refuse,
    setting,
)


class ProofKind(StrEnum):
    """How a sending domain is proven."""

    DNS = "dns"  # its DKIM key is seen in DNS
    OPERATOR = "operator"  # the operator vouches for it


class DkimKeySection(Section):
    """A further DKIM key of a sending domain."""

    selector: Selector = setting(text="Selector of the key.", example="s2")
    key_file: FilePath | None = setting(
        None,
        text="PEM file of the private key (RSA of 2048 bits or more, or Ed25519).",
        example="keys/example.com.s2.pem",
        reads=True,
        sample=True,
    )
    key: Kept | None = setting(
        None,
        text="kept: the key of this selector is in the database; instead of key_file.",
        example="kept",
    )
    signs: bool = setting(
        False,
        text="Whether it makes a second signature from now on, beside the domain's own: an "
        "Ed25519 key, or a key of the infrastructure's domain.",
        example=True,
    )
    domain: Domain | None = setting(
        None,
        text="Domain of its record (d=), for a key of the infrastructure; absent: the "
        "sending domain.",
        example="mail.example.net",
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        refuse(list(_key_complaints(self.selector, self.key_file, self.key)), "key")
        return self


def _key_complaints(
    selector: str | None, key_file: Path | None, key: Kept | None
) -> Iterator[Complaint]:
    """Yield what is wrong unless a selector and one place of its key are given."""
    if key_file is not None and key is not None:
        yield Complaint(("key",), "is given beside key_file", "keep one of the two")
    given = "key" if key_file is None else "key_file"
    has_key = key_file is not None or key is not None
    if has_key and selector is None:
        yield Complaint(
            ("selector",), f"is required with {given}", "give both or neither"
        )
    if selector is not None and not has_key:
        yield Complaint(
            ("key_file",),
            "is required with selector",
            'give both or neither, or key = "kept" for the one in the database',
        )


class SendingDomainSection(Section):
    """A From domain of one tenant."""

    tenant: Name = setting(text="Tenant that it belongs to.", example="acme")
    domain: Domain = setting(text="The domain in From.", example="example.com")
    return_path_domain: Domain = setting(
        default_factory=lambda known: f"bounce.{known.get('domain')}",
        default_text='"bounce." before the domain',
        text="Domain of the reverse-path; other tenants cannot share it.",
        example="bounce.example.com",
    )
    selector: Selector | None = setting(
        None,
        text="Selector of the DKIM key that signs; with key_file.",
        example="s1",
        sample=True,
    )
    key_file: FilePath | None = setting(
        None,
        text="PEM file of the private key (RSA of 2048 bits or more, or Ed25519); it is "
        "sealed in the database and the file no longer needed.",
        example="keys/example.com.s1.pem",
        reads=True,
        sample=True,
    )
    key: Kept | None = setting(
        None,
        text="kept: the key of this selector is in the database; instead of key_file.",
        example="kept",
    )
    proof: ProofKind = setting(
        ProofKind.DNS,
        text="dns: usable once the DKIM key is seen in DNS; operator: usable at once, "
        "you vouch for it.",
        example="dns",
        sample=True,
    )
    extra_keys: tuple[DkimKeySection, ...] = setting(
        (),
        text="Further keys: kept ready, such as the next one, or signing too.",
        example=[],
        max_length=10,
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        found = list(_key_complaints(self.selector, self.key_file, self.key))
        seen = {self.selector}
        for index, key in enumerate(self.extra_keys):
            if key.selector in seen:
                found.append(
                    Complaint(
                        ("extra_keys", index, "selector"),
                        f'"{key.selector}" is used twice',
                        "give each key of a domain its own selector",
                    )
                )
            seen.add(key.selector)
        refuse(found, "sending_domain")
        return self
