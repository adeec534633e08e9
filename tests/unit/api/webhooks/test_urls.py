"""Where events go: no URL leads them to where this node may not connect.

Source of the list: what attackers write to reach a host's own services, in every
spelling of an address that one resolver or another takes.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
import trustme
from typing_extensions import override

from fakes.hook_receiver import Answer, HookReceiver
from fakes.hooking import LOOPBACK, hooking
from fakes.resolver import FakeResolver
from mailwright.api.problems import ProblemError
from mailwright.api.webhooks.book import MAX_ENDPOINTS
from mailwright.api.webhooks.posting import (
    ANSWER_OCTETS,
    HttpPoster,
    webhook_url_defect,
)
from mailwright.outbound_http import OutboundHttp
from mailwright.resolver import AddressAnswer, Outcome
from mailwright.resolver import Answer as DnsAnswer
from mailwright.routable import IPAddress

#: Hosts that stand for this machine, its network, or its cloud; ``{}`` is a port.
HOSTS = (
    *("127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0.0.0.0", "0", "127.0.0.1."),  # noqa: S104
    *("0x7f.0.0.1", "0x7f000001", "2130706433", "017700000001", "0177.0.0.1"),
    *("127.0.0.1%00.example.org", "localhost", "localhost.", "LOCALHOST", "localhost6"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]"),
    *("[2001:0:7f00:1::]", "[fe80::1]", "[fe80::1%25lo]", "[fc00::1]", "[fd00::1]"),
    *("[fec0::1]", "[ff02::1]", "[::ffff:0:127.0.0.1]", "[100::1]", "[2001:db8::1]"),
    *("169.254.169.254", "[::ffff:169.254.169.254]", "0xa9fea9fe", "2852039166"),
    *("169.254.1.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("192.0.0.170", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *(
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.88.99.1",
        "10.1",
        "192.168.257",
    ),
    *("１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "ⓛⓞcalhost"),
    *("loopback.attacker.example", "mixed.attacker.example", "six.attacker.example"),
    *("mapped.attacker.example", "meta.attacker.example", "zero.attacker.example"),
)
#: What the attacker's own DNS answers.
ZONE = {
    "loopback.attacker.example": (["127.0.0.1"], []),
    "mixed.attacker.example": (["10.0.0.1", "127.0.0.1"], ["::1"]),
    "six.attacker.example": ([], ["::1"]),
    "mapped.attacker.example": ([], ["::ffff:127.0.0.1"]),
    "meta.attacker.example": (["169.254.169.254"], []),
    "zero.attacker.example": (["0.0.0.0"], ["::"]),  # noqa: S104
    # What an /etc/hosts would say, and resolvers that take any spelling.
    "localhost": (["127.0.0.1"], ["::1"]),
    "127.1": (["127.0.0.1"], []),
    "0x7f000001": (["127.0.0.1"], []),
    "2130706433": (["127.0.0.1"], []),
}
URLS = [
    *(f"{scheme}://{host}:{{port}}/" for host in HOSTS for scheme in ("http", "https")),
    *("https://a.example@127.0.0.1:{port}/", "https://127.0.0.1:{port}#@a.example/"),
    *("http://a.example:80@127.0.0.1:{port}/", "https://127.0.0.1:{port}\\@a.example/"),
    *("file:///etc/passwd", "gopher://127.0.0.1:{port}/_x", "ftp://127.0.0.1:{port}/"),
    *("http:127.0.0.1:{port}", "//127.0.0.1:{port}/", "http:///127.0.0.1:{port}/"),
    *(
        "https://127.0.0.1\t:{port}/",
        "http://127.0.0.1:{port}/\r\nX: y",
        "https://:{port}/",
    ),
    "http://" + "a" * 5000 + ".example/",
]


@asynccontextmanager
async def canaries() -> AsyncIterator[tuple[int, list[str]]]:
    """Listen on loopback, in both families; give the port and who connected."""
    caught: list[str] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caught.append(writer.get_extra_info("sockname")[0])
        writer.close()

    async with contextlib.AsyncExitStack() as stack:
        four = await asyncio.start_server(serve, "127.0.0.1", 0)
        await stack.enter_async_context(four)
        port = four.sockets[0].getsockname()[1]
        with contextlib.suppress(OSError):  # a machine without IPv6
            six = await asyncio.start_server(serve, "::1", port)
            await stack.enter_async_context(six)
        yield port, caught


def attackers() -> FakeResolver:
    resolver = FakeResolver()
    for host, (v4, v6) in ZONE.items():
        resolver.set_addresses(host, v4=v4, v6=v6)
    return resolver


#: An operator allowed one network, so that clear text is not refused for itself.
ALLOWED = (ip_network("10.99.0.0/16"),)


async def reached(folder: Path) -> list[str]:
    """Send to each URL, past the check at its creation; return who was reached."""
    http = OutboundHttp(attackers(), lambda: ALLOWED)
    async with (
        asyncio.timeout(100),
        canaries() as (port, caught),
        hooking(folder) as rig,
    ):
        made, _ = await rig.create("http://127.0.0.1:9/")
        poster = HttpPoster(http, rig.seals, lambda: ALLOWED, within_s=5)
        for url in URLS:
            endpoint = replace(made.endpoint, url=url.format(port=port))
            result = await poster.post(endpoint, "bat_1", b"{}", rig.clock.now())
            assert not result.is_taken
            assert result.error
        await http.close()
        return caught


def test_no_spelling_of_an_address_reaches_this_machine(tmp_path: Path) -> None:
    assert len(URLS) > 120
    assert asyncio.run(reached(tmp_path)) == []


def test_with_a_hole_in_the_guard_the_canary_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def holed(address: IPAddress, _: object) -> bool:
        return address.is_loopback  # and nothing else: tests stay on this machine

    monkeypatch.setattr("mailwright.outbound_http.is_permitted", holed)
    caught = asyncio.run(reached(tmp_path))
    assert caught.count("127.0.0.1") > 5


@pytest.mark.parametrize(
    "url",
    [
        *("http://crm.example/", "ftp://crm.example/", "https:///x", "crm.example"),
        *("https://u:p@crm.example/", "https://crm.example/#x", "https://127.1/"),
        *("https://2130706433/", "https://0x7f.1/", "https://crm.example/a b"),
        *("https://crm.example/ä", "https://" + "a" * 3000, ""),
    ],
)
def test_urls_that_lead_nowhere_are_refused_at_once(url: str) -> None:
    assert webhook_url_defect(url, ())


def test_urls_are_taken_that_lead_somewhere(tmp_path: Path) -> None:
    for url in (
        "https://crm.example/a?b=c",
        "https://8.8.8.8:8443/",
        "https://x.example",
    ):
        assert webhook_url_defect(url, ()) == ""
    assert webhook_url_defect("http://127.0.0.1:80/", LOOPBACK) == ""


class Rebinding(FakeResolver):
    """Answers with a global address at first, then with loopback."""

    @override
    async def addresses(self, host: str, *, want_v6: bool = False) -> AddressAnswer:
        self.asked.append(("A", host))
        address = "203.0.114.1" if len(self.asked) == 1 else "127.0.0.1"
        return DnsAnswer(Outcome.FOUND, (address,), 0.0)


def test_a_name_that_changes_its_mind_is_looked_at_each_time_and_dialled_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[str] = []

    async def run() -> None:
        resolver = Rebinding()
        async with canaries() as (port, caught), hooking(tmp_path) as rig:
            made, _ = await rig.create("http://127.0.0.1:9/")
            endpoint = replace(
                made.endpoint, url=f"https://re.attacker.example:{port}/"
            )
            http = OutboundHttp(resolver)
            poster = HttpPoster(http, rig.seals, tuple, within_s=0.3)
            loop = asyncio.get_running_loop()
            connect = loop.create_connection

            async def noted(*args: object, **named: object) -> object:
                host = named.get("host") or args[1]
                dialled.append(str(host))
                raise OSError("nobody goes out in a test")

            monkeypatch.setattr(loop, "create_connection", noted)
            for _ in range(3):
                result = await poster.post(endpoint, "b", b"{}", rig.clock.now())
                assert not result.is_taken
            monkeypatch.setattr(loop, "create_connection", connect)
            await http.close()
            assert caught == []
            assert "globally routable" in result.error

    asyncio.run(run())
    assert set(dialled) == {"203.0.114.1"}


def test_clear_text_goes_to_allowed_networks_alone(tmp_path: Path) -> None:
    async def run() -> None:
        async with HookReceiver() as hook, hooking(tmp_path) as rig:
            made, _ = await rig.create(hook.url())
            resolver = FakeResolver()
            resolver.set_addresses("public.example", v4=["203.0.114.1"])
            http = OutboundHttp(resolver, lambda: LOOPBACK)
            poster = HttpPoster(http, rig.seals, lambda: LOOPBACK, within_s=2)
            taken = await poster.post(made.endpoint, "b", b"{}", rig.clock.now())
            assert taken.is_taken
            endpoint = replace(made.endpoint, url="http://public.example/")
            refused = await poster.post(endpoint, "b", b"{}", rig.clock.now())
            assert "https" in refused.error
            await http.close()

    asyncio.run(run())


def test_a_certificate_must_be_the_hosts_own(tmp_path: Path) -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def post(name: str, verify: ssl.SSLContext | None) -> str:
        offered = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("hook.example").configure_cert(offered)

        async def serve(r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await r.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=offered)
        port = server.sockets[0].getsockname()[1]
        folder = tmp_path / f"{name}{verify is None}"
        await asyncio.to_thread(folder.mkdir)
        async with server, hooking(folder) as rig:
            resolver = FakeResolver()
            resolver.set_addresses(name, v4=["127.0.0.1"])
            http = OutboundHttp(resolver, lambda: LOOPBACK, verify=verify)
            poster = HttpPoster(http, rig.seals, lambda: LOOPBACK, within_s=20)
            made, _ = await rig.create(f"https://{name}:{port}/")
            result = await poster.post(made.endpoint, "b", b"{}", rig.clock.now())
            await http.close()
        return "taken" if result.is_taken else result.error

    assert asyncio.run(post("hook.example", trusting)) == "taken"
    assert asyncio.run(post("other.example", trusting)) != "taken"
    assert asyncio.run(post("hook.example", None)) != "taken"


def test_what_an_answer_says_is_neither_read_without_end_nor_believed(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        answers = [Answer.TAKE_AND_FLOOD, Answer.TAKE_AND_HANG, Answer.REDIRECT]
        async with (
            asyncio.timeout(120),
            HookReceiver(answers) as hook,
            hooking(tmp_path, within_s=5.0) as rig,
        ):
            entry, _ = await rig.create(hook.url())
            results = [await rig.door.test(entry) for _ in range(3)]
            assert [each.status for each in results] == [200, 200, 302]
            assert [each.is_taken for each in results] == [True, True, False]
            assert {each.path for each in hook.requests} == {"/hook"}

    asyncio.run(run())
    assert ANSWER_OCTETS == 65_536


def test_no_more_endpoints_than_a_tenant_may_have_and_none_twice(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with hooking(tmp_path) as rig:
            made = [
                (await rig.create(f"https://crm.example/{n}"))[0].endpoint
                for n in range(MAX_ENDPOINTS)
            ]
            with pytest.raises(ProblemError):
                await rig.create("https://crm.example/one-more")
            await rig.create("https://crm.example/0", tenant=2)
            with pytest.raises(ProblemError):
                await rig.create("https://crm.example/0", tenant=2)
            await rig.create("https://crm.example/0", tenant=2, types=["bounced"])
            assert len({each.public for each in made}) == MAX_ENDPOINTS

    asyncio.run(run())
