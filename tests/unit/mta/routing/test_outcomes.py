"""What each kind of domain leads to, from the octets of DNS to the site or the reply."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from mailwright.accounts.directory import Route
from mailwright.clock import ManualClock
from mailwright.mta.routing import MAX_HOPS, Router
from mailwright.reply import Reply
from mailwright.reputation.provider import load_profiles
from mailwright.resolver import STALE_S, DnspythonResolver
from mailwright.sandbox.dns import NULL_MX, Fault, Records, SandboxDns
from mailwright.site import Site

T = TypeVar("T")

ZONES = {
    "plain.test": Records(mx=((20, "b.mx.test"), (10, "a.mx.test"))),
    "null.test": NULL_MX,
    "half-null.test": Records(mx=((0, "."), (10, "a.mx.test"))),
    "a-only.test": Records(addresses=("192.0.2.1",)),
    "aaaa-only.test": Records(addresses=("2001:db8::1",)),
    "text-only.test": Records(texts=("v=spf1 -all",)),
    "alias.test": Records(cname="plain.test"),
    "alias-of-a.test": Records(cname="a-only.test"),
    "alias-of-nothing.test": Records(cname="gone.test"),
    "circle.test": Records(cname="circle2.test"),
    "circle2.test": Records(cname="circle.test"),
    "crowd.test": Records(mx=tuple((n, f"mx{n}.crowd.test") for n in range(90, 0, -1))),
    "silly.test": Records(mx=((10, "localhost"), (20, "192.0.2.1"))),
    "half-silly.test": Records(mx=((10, "192.0.2.1"), (20, "a.mx.test"))),
    "capitals.test": Records(mx=((10, "A.MX.Test."),)),
    "servfail.test": Records(mx=((10, "a.mx.test"),), fault=Fault.SERVFAIL),
    "refused.test": Records(mx=((10, "a.mx.test"),), fault=Fault.REFUSED),
    "silent.test": Records(fault=Fault.SILENCE),
    "garbage.test": Records(fault=Fault.GARBAGE),
    "cut.test": Records(mx=((10, "a.mx.test"),), fault=Fault.TRUNCATED),
}


class NoRoutes:
    def route_for(self, domain: str) -> Route | None:
        return None


def drive(
    scene: Callable[[Router, SandboxDns, ManualClock], Awaitable[T]],
    timeout_s: float = 20.0,
) -> T:
    async def run() -> T:
        clock = ManualClock()
        async with SandboxDns(ZONES) as dns:
            host, port = dns.address
            resolver = DnspythonResolver(
                [host], port=port, timeout_s=timeout_s, clock=clock
            )
            router = Router(resolver, NoRoutes, load_profiles([300.0]), clock)
            return await scene(router, dns, clock)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("domain", "outcome"),
    [
        ("plain.test", ["a.mx.test", "b.mx.test"]),
        ("capitals.test", ["a.mx.test"]),
        ("alias.test", ["a.mx.test", "b.mx.test"]),
        ("cut.test", ["a.mx.test"]),
        ("half-silly.test", ["a.mx.test"]),
        # A null MX beside others is a slip, not a word about the domain (RFC 7505 §3).
        ("half-null.test", ["a.mx.test"]),
        ("crowd.test", [f"mx{n}.crowd.test" for n in range(1, MAX_HOPS + 1)]),
        # Implicit MX: only where it is certain that there is none (RFC 5321 §5.1).
        ("a-only.test", ["a-only.test"]),
        ("aaaa-only.test", ["aaaa-only.test"]),
        ("alias-of-a.test", ["alias-of-a.test"]),
        ("null.test", "556 5.1.10"),
        ("gone.test", "550 5.1.2"),
        ("alias-of-nothing.test", "550 5.1.2"),
        ("text-only.test", "550 5.1.2"),
        ("silly.test", "451 4.4.4"),
        ("servfail.test", "451 4.4.3"),
        ("refused.test", "451 4.4.3"),
        ("silent.test", "451 4.4.3"),
        ("garbage.test", "451 4.4.3"),
        ("circle.test", "451 4.4.3"),
    ],
)
def test_a_domain_leads_to_just_this(domain: str, outcome: str | list[str]) -> None:
    timeout_s = 0.5 if domain in {"silent.test", "garbage.test"} else 20.0
    found = drive(lambda router, _, __: router.site_of(domain), timeout_s)
    if isinstance(found, Site):
        assert [hop.host for hop in found.hops] == outcome
    else:
        assert f"{found.code} {found.enhanced}" == outcome


def test_a_site_outlives_its_answer_while_dns_fails_and_not_for_ever() -> None:
    async def scene(router: Router, dns: SandboxDns, clock: ManualClock) -> None:
        before = await router.site_of("plain.test")
        assert isinstance(before, Site)
        dns.put("plain.test", Records(fault=Fault.SERVFAIL))
        clock.advance(3600)
        during = await router.site_of("plain.test")
        assert isinstance(during, Site)
        assert (during.key, during.hops) == (before.key, before.hops)
        clock.advance(STALE_S)
        after = await router.site_of("plain.test")
        assert isinstance(after, Reply)
        assert (after.code, after.enhanced) == (451, "4.4.3")

    drive(scene)


def test_a_domain_that_is_gone_is_not_kept_alive() -> None:
    async def scene(router: Router, dns: SandboxDns, clock: ManualClock) -> None:
        await router.site_of("plain.test")
        dns.remove("plain.test")
        clock.advance(3600)
        gone = await router.site_of("plain.test")
        assert isinstance(gone, Reply)
        assert (gone.code, gone.enhanced) == (550, "5.1.2")

    drive(scene)


def test_a_servfail_is_no_implicit_mx_and_no_end() -> None:
    async def scene(router: Router, dns: SandboxDns, clock: ManualClock) -> None:
        dns.put("d.test", Records(addresses=("192.0.2.1",), fault=Fault.SERVFAIL))
        reply = await router.site_of("d.test")
        assert isinstance(reply, Reply)
        assert reply.is_transient
        dns.put("d.test", Records(addresses=("192.0.2.1",)))
        clock.advance(60)
        assert isinstance(await router.site_of("d.test"), Site)

    drive(scene)
