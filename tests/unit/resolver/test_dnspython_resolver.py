"""The adapter against a real server on loopback: every outcome, and what is asked."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest
from typing_extensions import override

from mailwright.clock import ManualClock
from mailwright.resolver import (
    DEAD_AFTER,
    DEAD_QUERIES_PER_S,
    MAX_RECORDS,
    DnspythonResolver,
    MxRecord,
    Outcome,
    system_nameservers,
)
from mailwright.sandbox.dns import NULL_MX, Fault, Records, SandboxDns

T = TypeVar("T")
ZONES = {
    "one.example": Records(mx=((10, "mx.one.example"),)),
    "two.example": Records(
        mx=((20, "B.two.example."), (10, "c.two.example"), (20, "a.two.example"))
    ),
    "null.example": NULL_MX,
    "alias.example": Records(cname="one.example"),
    "loop.example": Records(cname="loop.example"),
    "silly.example": Records(mx=((10, "192.0.2.1"), (20, "localhost"), (30, "."))),
    "many.example": Records(
        mx=tuple((number, f"mx{number}.many.example") for number in range(90))
    ),
    "mx.one.example": Records(addresses=("192.0.2.1", "2001:db8::1")),
    "v6.one.example": Records(addresses=("2001:db8::6",)),
    "text.example": Records(texts=("v=DKIM1; p=" + "A" * 400, 'a "b" \\ ё')),
    "servfail.example": Records(fault=Fault.SERVFAIL),
    "refused.example": Records(fault=Fault.REFUSED),
    "silent.example": Records(fault=Fault.SILENCE),
    "garbage.example": Records(fault=Fault.GARBAGE),
    "cut.example": Records(mx=((10, "mx.one.example"),), fault=Fault.TRUNCATED),
}


class NoticingDns(SandboxDns):
    """Lets a test wait for the first query."""

    def __init__(self, records: Mapping[str, Records]) -> None:
        super().__init__(records)
        self.was_asked = asyncio.Event()

    @override
    def answer(self, wire: bytes, *, over_tcp: bool = False) -> bytes | None:
        self.was_asked.set()
        return super().answer(wire, over_tcp=over_tcp)


def drive(
    scene: Callable[[DnspythonResolver, NoticingDns, ManualClock], Awaitable[T]],
    *,
    servers: int = 1,
    timeout_s: float = 20.0,
) -> T:
    """Run ``scene`` with a resolver that asks a server with ``ZONES``."""

    async def run() -> T:
        clock = ManualClock()
        async with NoticingDns(ZONES) as dns:
            host, port = dns.address
            resolver = DnspythonResolver(
                [host] * servers, port=port, timeout_s=timeout_s, clock=clock
            )
            return await scene(resolver, dns, clock)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("domain", "outcome", "records"),
    [
        ("one.example", Outcome.FOUND, [(10, "mx.one.example")]),
        (
            "two.example",
            Outcome.FOUND,
            [(10, "c.two.example"), (20, "a.two.example"), (20, "b.two.example")],
        ),
        ("ONE.example.", Outcome.FOUND, [(10, "mx.one.example")]),
        ("null.example", Outcome.FOUND, [(0, "")]),
        ("alias.example", Outcome.FOUND, [(10, "mx.one.example")]),
        ("silly.example", Outcome.FOUND, []),
        ("cut.example", Outcome.FOUND, [(10, "mx.one.example")]),
        ("mx.one.example", Outcome.NO_DATA, []),
        ("nowhere.example", Outcome.NO_DOMAIN, []),
        ("not a name", Outcome.NO_DOMAIN, []),
        ("[192.0.2.1]", Outcome.NO_DOMAIN, []),
        ("loop.example", Outcome.FAILED, []),
        ("servfail.example", Outcome.FAILED, []),
        ("refused.example", Outcome.FAILED, []),
    ],
)
def test_mx_outcomes(
    domain: str, outcome: Outcome, records: list[tuple[int, str]]
) -> None:
    answer = drive(lambda resolver, *_: resolver.mx(domain))
    assert answer.outcome is outcome
    assert list(answer.records) == [MxRecord(*record) for record in records]
    assert bool(answer.reason) == (outcome is not Outcome.FOUND)


@pytest.mark.parametrize("domain", ["silent.example", "garbage.example"])
def test_silence_and_garbage_fail_in_time(domain: str) -> None:
    answer = drive(lambda resolver, *_: resolver.mx(domain), timeout_s=0.1)
    assert answer.outcome is Outcome.FAILED


def test_a_crowd_of_mx_hosts_is_cut_to_the_most_preferred() -> None:
    answer = drive(lambda resolver, *_: resolver.mx("many.example"))
    preferences = [record.preference for record in answer.records]
    assert preferences == list(range(MAX_RECORDS))


@pytest.mark.parametrize(
    ("host", "want_v6", "outcome", "records"),
    [
        ("mx.one.example", False, Outcome.FOUND, ("192.0.2.1",)),
        ("mx.one.example", True, Outcome.FOUND, ("192.0.2.1", "2001:db8::1")),
        ("v6.one.example", False, Outcome.NO_DATA, ()),
        ("v6.one.example", True, Outcome.FOUND, ("2001:db8::6",)),
        ("nowhere.example", True, Outcome.NO_DOMAIN, ()),
        ("servfail.example", True, Outcome.FAILED, ()),
    ],
)
def test_addresses(
    host: str, want_v6: bool, outcome: Outcome, records: tuple[str, ...]
) -> None:
    answer = drive(lambda resolver, *_: resolver.addresses(host, want_v6=want_v6))
    assert (answer.outcome, answer.records) == (outcome, records)


def test_the_strings_of_a_text_record_are_joined() -> None:
    answer = drive(lambda resolver, *_: resolver.txt("text.example"))
    assert set(answer.records) == {
        text.encode() for text in ZONES["text.example"].texts
    }


def test_a_truncated_answer_is_asked_again_over_tcp() -> None:
    async def scene(resolver: DnspythonResolver, dns: SandboxDns, _: object) -> int:
        await resolver.mx("one.example")
        assert dns.tcp_queries == 0
        await resolver.mx("cut.example")
        return dns.tcp_queries

    assert drive(scene) == 1


def test_servfail_of_one_server_is_asked_of_the_next_once() -> None:
    async def scene(resolver: DnspythonResolver, dns: SandboxDns, _: object) -> int:
        await resolver.mx("servfail.example")
        return dns.queries["MX", "servfail.example"]

    # Both entries are the same address, so it failed already.
    assert drive(scene, servers=2) == 1


def test_a_thousand_who_ask_the_same_are_one_query() -> None:
    async def scene(resolver: DnspythonResolver, dns: SandboxDns, _: object) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(resolver.mx("one.example")) for _ in range(1000)]
        assert {task.result().outcome for task in tasks} == {Outcome.FOUND}
        assert dns.queries["MX", "one.example"] == 1

    drive(scene)


def test_when_who_asked_is_cancelled_another_one_asks() -> None:
    async def scene(resolver: DnspythonResolver, dns: NoticingDns, _: object) -> None:
        dns.put("one.example", Records(fault=Fault.SILENCE))
        async with asyncio.TaskGroup() as group:
            first = group.create_task(resolver.mx("one.example"))
            others = [group.create_task(resolver.mx("one.example")) for _ in range(3)]
            async with asyncio.timeout(120):
                await dns.was_asked.wait()
            dns.put("one.example", ZONES["one.example"])
            first.cancel()
        assert {task.result().outcome for task in others} == {Outcome.FOUND}
        assert dns.queries["MX", "one.example"] == 2

    drive(scene)


def test_times_to_live_are_held_within_limits() -> None:
    async def scene(
        resolver: DnspythonResolver, dns: SandboxDns, clock: ManualClock
    ) -> None:
        dns.put("short.example", Records(mx=((1, "a.b"),), ttl_s=0))
        dns.put("long.example", Records(mx=((1, "a.b"),), ttl_s=10**6))
        assert (await resolver.mx("short.example")).ttl_s == 60
        assert (await resolver.mx("long.example")).ttl_s == 86_400
        clock.advance(59)
        assert (await resolver.mx("short.example")).ttl_s == 1
        clock.advance(2)
        await resolver.mx("short.example")
        await resolver.mx("long.example")
        assert dns.queries["MX", "short.example"] == 2
        assert dns.queries["MX", "long.example"] == 1

    drive(scene)


def test_an_absence_is_remembered_for_a_while() -> None:
    async def scene(
        resolver: DnspythonResolver, dns: SandboxDns, clock: ManualClock
    ) -> None:
        for _ in range(3):
            assert (await resolver.mx("new.example")).outcome is Outcome.NO_DOMAIN
        assert dns.queries["MX", "new.example"] == 1
        dns.put("new.example", ZONES["one.example"])
        clock.advance(301)
        assert (await resolver.mx("new.example")).outcome is Outcome.FOUND

    drive(scene)


def test_failures_are_asked_again_soon_and_then_less_soon() -> None:
    async def scene(
        resolver: DnspythonResolver, dns: SandboxDns, clock: ManualClock
    ) -> list[float]:
        ttls = []
        for _ in range(4):
            ttls.append((await resolver.mx("servfail.example")).ttl_s)
            await resolver.mx("servfail.example")
            clock.advance(ttls[-1])
        assert dns.queries["MX", "servfail.example"] == 4
        return ttls

    assert drive(scene) == [10, 20, 30, 30]


def test_an_old_answer_beats_a_failure_for_a_day() -> None:
    async def scene(
        resolver: DnspythonResolver, dns: SandboxDns, clock: ManualClock
    ) -> None:
        fresh = await resolver.mx("one.example")
        dns.put("one.example", Records(fault=Fault.SERVFAIL))
        clock.advance(61)
        old = await resolver.mx("one.example")
        assert (old.outcome, old.records) == (Outcome.FOUND, fresh.records)
        assert "old answer" in old.reason
        assert old.ttl_s <= 30
        clock.advance(86_400)
        assert (await resolver.mx("one.example")).outcome is Outcome.FAILED
        dns.put("one.example", ZONES["one.example"])
        clock.advance(31)
        again = await resolver.mx("one.example")
        assert (again.records, again.reason) == (fresh.records, "")

    drive(scene)


def test_an_absence_is_never_served_old() -> None:
    async def scene(
        resolver: DnspythonResolver, dns: SandboxDns, clock: ManualClock
    ) -> Outcome:
        await resolver.mx("gone.example")
        dns.put("gone.example", Records(fault=Fault.SERVFAIL))
        clock.advance(301)
        return (await resolver.mx("gone.example")).outcome

    assert drive(scene) is Outcome.FAILED


def test_a_dead_resolver_is_asked_fifty_times_a_second_at_most() -> None:
    names = [f"{number}.example" for number in range(500)]

    async def scene(
        resolver: DnspythonResolver, dns: SandboxDns, clock: ManualClock
    ) -> int:
        for name in names:
            dns.put(name, Records(fault=Fault.SILENCE))
        for name in names[:DEAD_AFTER]:
            await resolver.mx(name)
        dns.queries.clear()
        async with asyncio.TaskGroup() as group:
            for name in names[DEAD_AFTER:]:
                group.create_task(resolver.mx(name))
                await asyncio.sleep(0)  # lets it ask, or be told
                clock.advance(1 / len(names))
        return dns.queries.total()

    assert 0.5 * DEAD_QUERIES_PER_S < drive(scene, timeout_s=0.02) <= DEAD_QUERIES_PER_S


def test_while_the_resolver_is_dead_old_answers_are_told_and_nobody_queues() -> None:
    async def scene(
        resolver: DnspythonResolver, dns: SandboxDns, clock: ManualClock
    ) -> None:
        known = await resolver.mx("one.example")
        clock.advance(61)
        await dns.close()
        for number in range(DEAD_AFTER):
            await resolver.mx(f"{number}.example")
        # No time passes: the next query may not leave yet.
        old = await resolver.mx("one.example")
        assert (old.outcome, old.records) == (Outcome.FOUND, known.records)
        assert "down" in old.reason
        for _ in range(64):
            await resolver._slots.acquire()
        assert "down" in (await resolver.mx("two.example")).reason

    drive(scene)


def test_one_family_suffices_when_the_other_fails() -> None:
    async def scene(resolver: DnspythonResolver, dns: SandboxDns, _: object) -> None:
        await resolver.addresses("mx.one.example")
        dns.put("mx.one.example", Records(fault=Fault.SERVFAIL))
        answer = await resolver.addresses("mx.one.example", want_v6=True)
        assert (answer.outcome, answer.records) == (Outcome.FOUND, ("192.0.2.1",))
        assert answer.ttl_s <= 10
        await resolver.addresses("v6.one.example")
        dns.put("v6.one.example", Records(fault=Fault.SERVFAIL))
        failed = await resolver.addresses("v6.one.example", want_v6=True)
        assert failed.outcome is Outcome.FAILED

    drive(scene)


def test_the_systems_resolvers_are_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.53\nnameserver 2001:db8::53\n")
    assert system_nameservers(str(path)) == ["192.0.2.53", "2001:db8::53"]


def test_one_answer_brings_a_dead_resolver_back() -> None:
    async def scene(
        resolver: DnspythonResolver, dns: SandboxDns, clock: ManualClock
    ) -> None:
        for number in range(DEAD_AFTER):
            dns.put(f"{number}.example", Records(fault=Fault.SILENCE))
            await resolver.mx(f"{number}.example")
        assert resolver._limiter.is_dead
        clock.advance(1)
        resolver._timeout_s = 20.0  # what comes may take its time
        first = await resolver.mx("two.example")
        second = await resolver.mx("alias.example")
        assert (first.outcome, second.outcome) == (Outcome.FOUND, Outcome.FOUND)

    drive(scene, timeout_s=0.02)
