"""``mailwright dkim``: make a key, print its record, compare DNS with it, end it.

Making and checking work on files and DNS only: no node need be there. Exit status: 0 as
wanted, 1 the record does not fit or cannot be asked for, or the node refuses, 2 wrong
arguments or an unusable key file.
"""

import asyncio
import ipaddress
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, NoReturn
from urllib.parse import quote

import dns.exception
import dns.resolver
import typer

from mailwright.accounts.signing_keys import (
    ED25519_SHA256,
    RSA_SHA256,
    PrivateKey,
    SigningKeyError,
    read_der,
    read_pem,
)
from mailwright.address import AddressError, canonical_domain
from mailwright.cli.operator import SettingsOption, ask_node
from mailwright.clock import SystemClock
from mailwright.mta.dkim.keys import generate, write_new_key
from mailwright.mta.dkim.records import (
    Comparison,
    compare,
    is_selector,
    record_name,
    record_text,
    zone_line,
)
from mailwright.resolver import DnspythonResolver, Outcome, TxtAnswer

_MAX_KEY_FILE_OCTETS: Final = 65_536
_WRONG_INPUT: Final = 2

dkim_app = typer.Typer(
    name="dkim", help="DKIM keys and their DNS records.", no_args_is_help=True
)

Domain = Annotated[str, typer.Option("--domain", help="The From domain: d=.")]
Selector = Annotated[str, typer.Option("--selector", help="Name of the key: s=.")]
KeyFile = Annotated[Path, typer.Option("--key", help="Private key, PEM.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@dkim_app.command("generate")
def generate_key(
    domain: Domain,
    selector: Selector,
    out: Annotated[Path, typer.Option("--out", help="File to make, mode 0600.")],
    ed25519: Annotated[
        bool,
        typer.Option(
            "--ed25519", help="Not every receiver reads it: a second key beside RSA."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a private key, in a new file, and print the record to publish."""
    domain, selector = _checked(domain, selector)
    algorithm = ED25519_SHA256 if ed25519 else RSA_SHA256
    key = generate(algorithm)
    try:
        write_new_key(out, key)
    except FileExistsError:
        _stop(f"--out: {out} exists; a key is never overwritten, name another file")
    except OSError as error:
        _stop(f"--out: cannot write {out}: {os.strerror(error.errno or 0)}")
    name, text = record_name(domain, selector), record_text(key)
    if as_json:
        _print_json(
            {"algorithm": algorithm, "key_file": str(out), "name": name, "record": text}
        )
        return
    print(f"The private key is in {out}; keep it secret. Publish this record:\n")
    print(zone_line(domain, selector, key))


@dkim_app.command("record")
def print_record(
    key_file: KeyFile,
    domain: Domain,
    selector: Selector,
    zone: Annotated[
        bool,
        typer.Option("--zone", help="As a line for a zone file, in short strings."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the TXT record that publishes a key."""
    domain, selector = _checked(domain, selector)
    key = _read_key(key_file)
    name, text = record_name(domain, selector), record_text(key)
    line = zone_line(domain, selector, key)
    if as_json:
        _print_json({"name": name, "record": text, "zone": line})
    elif zone:
        print(line)
    else:
        print(f"name:   {name}\ntype:   TXT\nvalue:  {text}")


@dkim_app.command("check")
def check_record(
    key_file: KeyFile,
    domain: Domain,
    selector: Selector,
    nameserver: Annotated[
        str,
        typer.Option(
            "--nameserver", help="IP or IP:port to ask; otherwise the system's."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Compare the record in DNS with a key. Exit status 1 if it does not fit."""
    domain, selector = _checked(domain, selector)
    key = _read_key(key_file)
    name = record_name(domain, selector)
    answer = asyncio.run(_ask(name, *_nameservers(nameserver)))
    is_good, verdict, text = _judged(answer, key)
    if as_json:
        _print_json({"name": name, "ok": is_good, "verdict": verdict, "text": text})
    else:
        print(f"{name}: {text}")
    if not is_good:
        raise typer.Exit(1)


Replacement = Annotated[
    str | None,
    typer.Option(
        "--replacement",
        help="Selector of the key that signs from now on, if this one does now.",
    ),
]
Reason = Annotated[str, typer.Option(help="Why, for `settings log`.")]


@dkim_app.command("retire")
def retire_key(
    domain: Domain,
    selector: Selector,
    settings: SettingsOption,
    replacement: Replacement = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Accept nothing more with a key; what waits is still signed with it.

    Keep its record in DNS until that mail has arrived.
    """
    body = {"replacement": replacement, "reason": reason}
    _end_key(settings, "retire", _checked(domain, selector), body, as_json=as_json)


@dkim_app.command("revoke")
def revoke_key(
    domain: Domain,
    selector: Selector,
    settings: SettingsOption,
    replacement: Replacement = None,
    no_replacement: Annotated[
        bool,
        typer.Option(
            "--no-replacement",
            help="Let nothing sign: bulk mail of the domain is refused and waits.",
        ),
    ] = False,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Sign nothing more with a key, for good: others may have it.

    What was accepted with it is signed with the key in force, and its events say so.
    """
    if replacement is not None and no_replacement:
        _stop("--replacement and --no-replacement contradict each other")
    body = {
        "replacement": replacement,
        "may_leave_none": no_replacement,
        "reason": reason,
    }
    _end_key(settings, "revoke", _checked(domain, selector), body, as_json=as_json)


def _end_key(
    settings: Path,
    how: str,
    key: tuple[str, str],
    body: Mapping[str, object],
    *,
    as_json: bool,
) -> None:
    domain, selector = (quote(each, safe="") for each in key)
    path = f"/v1/sending-domains/{domain}/keys/{selector}/{how}"
    found = ask_node(settings, "POST", path, body=body)
    if as_json:
        _print_json(found)
        return
    print(f"the key {found['selector']} of {found['domain']} is {found['ended']}")
    if found["replacement"] is not None:
        print(f"{found['replacement']} signs from now on")


def _judged(answer: TxtAnswer, key: PrivateKey) -> tuple[bool, str, str]:
    """Return whether DNS is as it should be, the verdict's name, and a text."""
    if answer.outcome is Outcome.FAILED:
        # Not known is neither good nor absent: publishing again would not help.
        return False, "unknown", f"cannot be checked: {answer.reason}"
    found: Comparison = compare(answer.records, key)
    text = f"{found.verdict.value}; {found.note}" if found.note else found.verdict.value
    return found.is_good, found.verdict.name.lower(), text


async def _ask(name: str, nameservers: list[str], port: int) -> TxtAnswer:
    resolver = DnspythonResolver(nameservers, clock=SystemClock(), port=port)
    return await resolver.txt(name)


def _nameservers(text: str) -> tuple[list[str], int]:
    """Return the addresses and the port to ask."""
    if not text:
        try:
            return [str(each) for each in dns.resolver.Resolver().nameservers], 53
        except dns.exception.DNSException:
            _stop("no resolver is configured on this machine; give --nameserver")
    host, colon, port_text = text, "", ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        colon, port_text = rest[:1], rest[1:]
    elif text.count(":") == 1:
        host, colon, port_text = text.partition(":")
    try:
        port = int(port_text) if colon else 53
        if 0 < port < 65_536:
            return [str(ipaddress.ip_address(host))], port
    except ValueError:
        pass
    _stop("--nameserver: an IP address, with or without :port, such as 127.0.0.1:5353")


def _checked(domain: str, selector: str) -> tuple[str, str]:
    """Return both in the form that is signed and looked up."""
    try:
        domain = canonical_domain(domain.removesuffix("."))
    except AddressError as error:
        _stop(f"--domain: {error.reason}")
    if not is_selector(selector):
        _stop('--selector: lower-case letters, digits, hyphens and dots, such as "s1"')
    return domain, selector


def _read_key(path: Path) -> PrivateKey:
    try:
        with path.open("rb") as file:
            pem = file.read(_MAX_KEY_FILE_OCTETS)
        return read_der(read_pem(pem)[1])
    except OSError as error:
        _stop(f"--key: cannot read {path}: {os.strerror(error.errno or 0)}")
    except SigningKeyError as error:
        _stop(f"--key: {path}: {error}")


def _print_json(value: Mapping[str, object]) -> None:
    print(json.dumps(value, ensure_ascii=False))


def _stop(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(_WRONG_INPUT)
