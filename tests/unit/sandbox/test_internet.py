"""DNS and receivers together: an MX leads to a receiver."""

import asyncio
from collections.abc import Awaitable, Callable

import aiosmtplib
import pytest

from mailwright.clock import ManualClock
from mailwright.resolver import DnspythonResolver, Outcome
from mailwright.sandbox.behaviour import Behaviour
from mailwright.sandbox.dns import NULL_MX, Fault, Records
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import MAX_HOSTS, Internet, SandboxDomain
from mailwright.sandbox.receivers import Receiver

DOMAINS = [
    "one.test",
    SandboxDomain("two.test", hosts=("a.mx.test", "b.mx.test")),
    SandboxDomain("three.test", hosts=("b.mx.test", "a.mx.test")),
    SandboxDomain("grey.test", Behaviour(greylist_s=300)),
    SandboxDomain("null.test", records=NULL_MX),
    SandboxDomain("broken.test", records=Records(fault=Fault.SERVFAIL)),
]


def drive(
    scene: Callable[[Internet, DnspythonResolver, ManualClock], Awaitable[None]],
) -> None:
    async def run() -> None:
        clock = ManualClock()
        settings = InboxSettings(verify_share=0)
        async with (
            asyncio.timeout(120),
            Internet(DOMAINS, inbox=settings, clock=clock) as net,
        ):
            host, port = net.nameserver
            await scene(net, DnspythonResolver([host], port=port, clock=clock), clock)

    asyncio.run(run())


async def send(net: Internet, resolver: DnspythonResolver, recipient: str) -> None:
    mx = await resolver.mx(recipient.partition("@")[2])
    addresses = await resolver.addresses(mx.records[0].host)
    async with aiosmtplib.SMTP(
        hostname=addresses.records[0], port=net.smtp_port, start_tls=False, timeout=120
    ) as smtp:
        await smtp.sendmail("a@b.test", [recipient], b"Subject: x\r\n\r\n")


def test_mail_reaches_every_domain_by_its_mx() -> None:
    async def scene(net: Internet, resolver: DnspythonResolver, _: object) -> None:
        for domain in ("one.test", "two.test", "three.test"):
            await send(net, resolver, f"u@{domain}")
        assert net.inbox.totals.copies == 3
        connections = {host: tally.connections for host, tally in net.tallies.items()}
        assert connections == {
            "mx.one.test": 1,
            "a.mx.test": 1,
            "b.mx.test": 1,
            "mx.grey.test": 0,
        }

    drive(scene)


def test_domains_without_receivers_have_the_records_given() -> None:
    async def scene(_: Internet, resolver: DnspythonResolver, __: object) -> None:
        assert (await resolver.mx("null.test")).records[0].host == ""
        assert (await resolver.mx("broken.test")).outcome is Outcome.FAILED
        assert (await resolver.mx("absent.test")).outcome is Outcome.NO_DOMAIN

    drive(scene)


def test_greylisting_runs_on_the_clock_given() -> None:
    async def scene(
        net: Internet, resolver: DnspythonResolver, clock: ManualClock
    ) -> None:
        for wait in (0, 299):
            clock.advance(wait)
            with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
                await send(net, resolver, "u@grey.test")
        clock.advance(2)
        await send(net, resolver, "u@grey.test")
        assert net.inbox.totals.copies == 1

    drive(scene)


def test_behaviour_can_change_while_it_runs() -> None:
    async def scene(net: Internet, resolver: DnspythonResolver, _: object) -> None:
        net.conduct.behaviours["one.test"] = Behaviour(defer_first=None)
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
            await send(net, resolver, "u@one.test")

    drive(scene)


def test_a_published_text_is_found_by_name() -> None:
    async def scene(net: Internet, resolver: DnspythonResolver, _: object) -> None:
        net.publish_txt("s1._domainkey.one.test", "v=DKIM1; p=abc")
        answer = await resolver.txt("s1._domainkey.one.test")
        assert answer.records == (b"v=DKIM1; p=abc",)
        net.publish_txt("one.test", "v=spf1 -all")
        assert (await resolver.mx("one.test")).outcome is Outcome.FOUND

    drive(scene)


def test_an_error_inside_comes_out_as_it_is() -> None:
    async def scene(*_: object) -> None:
        raise LookupError("of the test")

    with pytest.raises(LookupError, match="of the test"):
        drive(scene)


def test_too_many_hosts_are_refused() -> None:
    async def run() -> None:
        async with Internet([f"{n}.test" for n in range(MAX_HOSTS + 1)]):
            pass

    with pytest.raises(ValueError, match="MX hosts"):
        asyncio.run(run())


def test_a_port_that_somebody_has_is_given_up_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[int] = []
    listen = Receiver.listen

    async def listen_unless_taken(receiver: Receiver, address: str, port: int) -> int:
        if port and not taken:
            taken.append(port)
            raise OSError("address in use")
        return await listen(receiver, address, port)

    monkeypatch.setattr(Receiver, "listen", listen_unless_taken)

    async def scene(net: Internet, resolver: DnspythonResolver, _: object) -> None:
        assert taken
        await send(net, resolver, "u@one.test")
        await send(net, resolver, "u@two.test")

    drive(scene)
