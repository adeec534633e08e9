"""A node that asks a real resolver: Unbound, which asks Knot, a real name server.

What DNS says becomes the way of a message, or its end; what nobody could find out makes
it wait. The receivers are the sandbox's; they also are the oracle of which MX was used.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import dns.asyncquery
import dns.flags
import dns.message
import pytest
from dns.message import make_query

from fakes.name_servers import Names
from fakes.node_process import NodeProcess, query, write_node
from fakes.submitting import Book, HttpClient, Letter, submit_all
from mailwright.clock import SystemClock
from mailwright.resolver import MAX_RECORDS, DnspythonResolver, Outcome
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet, SandboxDomain

pytestmark = pytest.mark.scenario

DEADLINE_S = 240.0
HOSTS = ("mx1.hosts.example", "mx2.hosts.example", "mx3.hosts.example")
BEST, SECOND, THIRD = HOSTS
#: More than a datagram holds, and more than the resolver keeps.
MANY = 60
LONG = "with-a-name-that-fills-the-datagram"
#: Where the mail of a name must arrive; the records are relative to ``example.``
ARRIVES = {
    "plain": BEST,  # one MX
    "ordered": BEST,  # the most preferred, whatever its place in the zone
    "shared": SECOND,
    "gap": SECOND,  # the better hosts do not exist
    "implicit": THIRD,  # no MX, but an address
    "alias": BEST,  # CNAME to a name with an MX
    "chain": BEST,  # four CNAMEs
    "abroad": SECOND,  # CNAME into another zone
    "crooked": THIRD,  # an MX whose host is a CNAME (RFC 5321 §5.1 forbids it)
    "any.wild": BEST,  # a wildcard
    "xn--e1afmkfd": BEST,  # an A-label
    "many": BEST,  # an answer over TCP
    "local": BEST,  # the resolver's own data
    "signed": BEST,  # validates
}
RECORDS = """\
plain       MX  10 mx1.hosts
ordered     MX  30 mx3.hosts
ordered     MX  10 mx1.hosts
ordered     MX  20 mx2.hosts
shared      MX  10 mx2.hosts
gap         MX  1  gone.hosts
gap         MX  2  txt-only
gap         MX  10 mx2.hosts
implicit    A   {third}
alias       CNAME plain
chain       CNAME chain2
chain2      CNAME chain3
chain3      CNAME chain4
chain4      CNAME plain
abroad      CNAME target.elsewhere.example.
crooked     MX  10 crooked-host
crooked-host CNAME mx3.hosts
*.wild      MX  10 mx1.hosts
xn--e1afmkfd MX 10 mx1.hosts
null        MX  0 .
txt-only    TXT "there is no mail here"
below.empty A   {third}
dangling    CNAME nothing-here
loop        CNAME loop2
loop2       CNAME loop
literal     MX  10 127.0.0.1.
mx1.hosts   A   {first}
mx2.hosts   A   {second}
mx3.hosts   A   {third}
many        MX  1 mx1.hosts
"""
#: Ends at once: code and enhanced code.
BOUNCES = {
    "null": (556, "5.1.10"),
    "missing": (550, "5.1.2"),
    "dangling": (550, "5.1.2"),
    "txt-only": (550, "5.1.2"),
    "empty": (550, "5.1.2"),
}
#: Waits, with this in its reason.
WAITS = {
    "broken": "SERVFAIL",  # a zone that cannot be loaded
    "loop": "SERVFAIL",
    "bogus": "SERVFAIL",  # signed with a key that is not trusted
    "refused": "REFUSED",
    "lame": "did not answer",  # nobody listens where its server should be
    "silent": "did not answer",  # its server takes questions and says nothing
    "literal": "names a host",  # an MX that is an address
}


#: Events by the name that they are about.
Found: TypeAlias = dict[str, list[dict[str, Any]]]


def address(name: str) -> str:
    return f"someone@{name}.example"


@dataclass
class Scene:
    """What plays.

    Attributes:
        names: Knot and Unbound.
        net: the receivers; nobody asks its name server.
        settings: of a node that is not started.
    """

    names: Names
    net: Internet
    settings: Path


def domains() -> list[SandboxDomain]:
    """Return every domain, so that any host takes its mail; DNS says which is asked."""
    return [
        SandboxDomain(f"{name}.example", hosts=HOSTS)
        for name in ("hosts", *ARRIVES, *BOUNCES, *WAITS)
    ]


async def addresses_of(net: Internet) -> dict[str, str]:
    """Return where the receivers of the sandbox listen."""
    host, port = net.nameserver
    resolver = DnspythonResolver([host], port=port, clock=SystemClock())
    found = {}
    for name, kind in zip(HOSTS, ("first", "second", "third"), strict=True):
        [found[kind]] = (await resolver.addresses(name)).records
    return found


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    """Start the receivers and DNS, and write a node that asks Unbound."""
    async with AsyncExitStack() as stack:
        silent = stack.enter_context(silent_server())
        net = await stack.enter_async_context(
            Internet(domains(), inbox=InboxSettings(verify_share=0))
        )
        addresses = await addresses_of(net)
        records = RECORDS.format(**addresses)
        for number in range(2, MANY + 1):
            records += f"many MX {number} mx{number}-{LONG}.hosts\n"
        zones = {
            "example": records,
            "elsewhere.example": "target MX 10 mx2.hosts.example.\n",
            "signed.example": "@ MX 10 mx1.hosts.example.\n",
            "bogus.example": "@ MX 10 mx1.hosts.example.\n",
            "broken.example": "@ MX ten mx1.hosts.example.\n",
        }
        names = await stack.enter_async_context(
            Names(
                folder / "names",
                zones,
                signed=["signed.example"],
                bogus=["bogus.example"],
                # The discard port: nobody listens there.
                stubs={"silent.example": silent, "lame.example": 9},
                server=[
                    'local-zone: "refused.example." always_refuse',
                    'local-data: "local.example. MX 10 mx1.hosts.example."',
                ],
            )
        )
        settings = write_node(
            folder, nameserver=names.unbound.address, smtp_port=net.smtp_port
        )
        yield Scene(names, net, settings)


@contextmanager
def silent_server() -> Iterator[int]:
    """Take questions on a UDP port, and never answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taking:
        taking.bind(("127.0.0.1", 0))
        yield int(taking.getsockname()[1])


async def submit(node: NodeProcess, names: Sequence[str]) -> None:
    letters = [Letter(name, (address(name),)) for name in names]
    await submit_all(node.smtp, letters, Book())


def kinds(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


async def wait_events(client: HttpClient, is_enough: Callable[[Found], bool]) -> Found:
    """Return the events of each name (but ``received``), once they are enough."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found: Found = {}
            for event in await client.events():
                if event["type"] != "received":
                    name = event["recipient"].partition("@")[2]
                    found.setdefault(name.removesuffix(".example"), []).append(event)
            if is_enough(found):
                return found
            await asyncio.sleep(0.1)


def test_what_dns_says_is_where_the_mail_goes(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path) as play, NodeProcess(play.settings) as node:
            client = HttpClient(node.http)
            names = {*ARRIVES, *BOUNCES, *WAITS}
            await submit(node, sorted(names))
            found = await wait_events(client, lambda seen: names <= set(seen))
            await client.close()
            statistics = await play.names.unbound.statistics()
            assert await node.stop() == 0, node.text

            # The receivers saw what the events say, and recipients as they were written.
            offered = {host: play.net.tallies[host].offered for host in HOSTS}
            assert offered == Counter(ARRIVES.values())
            assert {each.recipients for each in play.net.inbox.letters} == {
                (address(name),) for name in ARRIVES
            }
        for name in ARRIVES:
            assert kinds(found[name]) == ["delivered"], name
        for name, (code, enhanced) in BOUNCES.items():
            [event] = found[name]
            assert event["type"] == "bounced", name
            assert event["data"]["code"] == code, name
            assert event["data"]["enhanced"] == enhanced, name
            assert event["data"]["origin"] == "local", name
        for name, reason in WAITS.items():
            assert set(kinds(found[name])) == {"deferred"}, name
            assert reason in found[name][0]["data"]["text"], name
        waiting = query(play.settings, "SELECT recipient FROM deliveries")
        assert {row[0] for row in waiting} == {address(name) for name in WAITS}
        # The truncated answer, and the two zones that Unbound validates.
        assert statistics["num.query.tcp"] == 1
        assert statistics["num.answer.secure"] >= 1
        assert statistics["num.answer.bogus"] >= 1

    asyncio.run(main())


def test_a_truncated_answer_is_asked_for_again_over_tcp(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path) as play:
            host, port = play.names.unbound.address
            many = make_query("many.example", "MX", use_edns=0, payload=1232)
            # Control: one datagram does not hold the answer.
            cut = await dns.asyncquery.udp(many, host, 10, port)
            assert cut.flags & dns.flags.TC
            assert len(records_of(cut)) < MANY
            whole = await dns.asyncquery.tcp(many, host, 10, port)
            assert len(records_of(whole)) == MANY

            resolver = DnspythonResolver([host], port=port, clock=SystemClock())
            answer = await resolver.mx("many.example")
            assert answer.outcome is Outcome.FOUND
            preferences = [record.preference for record in answer.records]
            # Not all: more hosts than this are an attack. But the best of them.
            assert preferences == list(range(1, MAX_RECORDS + 1))
            assert answer.records[0].host == BEST

    asyncio.run(main())


def records_of(response: dns.message.Message) -> list[object]:
    return [rdata for rrset in response.answer for rdata in rrset]


def test_mail_waits_while_dns_is_away_and_leaves_when_it_is_back(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with scene(tmp_path) as play, NodeProcess(play.settings) as node:
            client = HttpClient(node.http)
            knot, unbound = play.names.knot, play.names.unbound

            def leaves(name: str) -> Callable[[Found], bool]:
                return lambda seen: "delivered" in kinds(seen.get(name, []))

            def waits(name: str) -> Callable[[Found], bool]:
                return lambda seen: name in seen

            await submit(node, ["plain", "missing"])
            found = await wait_events(client, leaves("plain"))

            # The name server dies: what the resolver cannot know is not "no domain".
            await knot.stop()
            await submit(node, ["shared"])
            found = await wait_events(client, waits("shared"))
            assert "SERVFAIL" in found["shared"][0]["data"]["text"]
            await knot.start()
            found = await wait_events(client, leaves("shared"))

            # The resolver dies; the way to who is known still is.
            await unbound.stop()
            await submit(node, ["ordered", "plain"])
            found = await wait_events(
                client,
                lambda seen: waits("ordered")(seen) and len(seen["plain"]) == 2,
            )
            assert "did not answer" in found["ordered"][0]["data"]["text"]
            await unbound.start()
            found = await wait_events(client, leaves("ordered"))

            await client.close()
            assert await node.stop() == 0, node.text
        for name in ("shared", "ordered"):
            first, *_, last = kinds(found[name])
            assert (first, last) == ("deferred", "delivered"), name
            assert set(kinds(found[name])) == {"deferred", "delivered"}, name
        assert kinds(found["plain"]) == ["delivered", "delivered"]
        # Control: when somebody does know, it ends at once.
        assert kinds(found["missing"]) == ["bounced"]

    asyncio.run(main())
