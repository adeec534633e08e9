"""Settings changed on a node that runs: from the command line to the next message."""

import asyncio
import json
import smtplib
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes.node_process import API_KEY, Hop, NodeProcess, query, write_node
from fakes.slowness import allowed
from mailwright.accounts.settings.document import format_document
from mailwright.queue.unreachable import DEFER_AT_ONCE
from mailwright.sandbox.dns import SandboxDns
from mailwright.sandbox.inbox import InboxSettings
from mailwright.sandbox.internet import Internet

pytestmark = pytest.mark.scenario

#: A change acts on the running node within this time.
PROMISE_S = 5.0
#: An address that no route or MX leads to: what is accepted stays queued.
NOWHERE = "r@nowhere.example"


class Commands:
    """Runs the command line as a process of its own."""

    def __init__(self, settings: Path) -> None:
        self.settings = settings

    async def __call__(self, *words: str, status: int = 0) -> str:
        """Return what a command printed; ``status`` is what it must exit with."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mailwright", *words),
            *("--settings", str(self.settings)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == status, (words, out, err)
        return (out + err).decode()

    async def exported(self) -> dict[str, Any]:
        return tomllib.loads(await self("export"))

    async def apply(self, values: dict[str, Any], *more: str, status: int = 0) -> str:
        path = self.settings.parent / "wanted.toml"
        path.write_text(format_document(values))
        return await self("apply", str(path), *more, status=status)


def submit(
    address: tuple[str, int], domain: str, count: int = 1, to: str = NOWHERE
) -> tuple[int, str]:
    """Return the reply to a message from ``domain`` with ``count`` recipients."""
    with smtplib.SMTP(*address, timeout=120) as client:
        client.ehlo()
        client.mail(f"a@{domain}")
        for number in range(count):
            client.rcpt(f"{number}.{to}")
        code, text = client.data(f"From: a@{domain}\r\nSubject: hi\r\n\r\nhi\r\n")
        return code, text.decode()


async def submitted(
    node: NodeProcess, domain: str = "example.com", count: int = 1
) -> int:
    """Return the code of the reply to a message."""
    return (await asyncio.to_thread(submit, node.smtp, domain, count))[0]


async def wait_reply(address: tuple[str, int], domain: str, code: int) -> None:
    """Return when mail from ``domain`` gets ``code``, which may not take long."""
    started = time.monotonic()
    while True:
        found, _ = await asyncio.to_thread(submit, address, domain)
        passed = time.monotonic() - started
        if found == code:
            assert passed <= allowed(PROMISE_S), f"after {passed:.1f} s"
            return
        assert passed < 120, f"{found} after {passed:.1f} s"


NEW_DOMAIN = {
    "tenant": "acme",
    "domain": "new.example",
    "selector": "n1",
    "key_file": "s1.pem",
    "proof": "operator",
}


def test_a_change_acts_on_the_running_node(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = write_node(tmp_path)
        command = Commands(settings)
        async with NodeProcess(settings) as node:
            assert await submitted(node, "new.example") == 550
            before = await command.exported()
            assert "nothing to change" in await command.apply(before)

            values = await command.exported()
            values["sending_domain"].append(NEW_DOMAIN)
            dry = await command.apply(values, "--dry-run")
            assert "+ sending_domain acme/new.example" in dry
            assert await submitted(node, "new.example") == 550
            await command.apply(values, "--reason", "a new brand")
            await wait_reply(node.smtp, "new.example", 250)

            before["credential"][0]["hourly_limit"] = 9
            moved = await command.apply(before, status=1)
            assert "since version 1" in moved

            values = await command.exported()
            values["sending_domain"].pop()
            gone = await command.apply(values)
            assert "- sending_domain acme/new.example (retired)" in gone
            await wait_reply(node.smtp, "new.example", 550)
            assert await node.stop() == 0

        # While no node runs, the same commands open the database.
        log = json.loads(await command("settings", "log", "--json"))
        assert [each["reason"] for each in log["versions"]] == [
            "",
            "a new brand",
            "first settings",
        ]
        queued = query(settings, "SELECT count(*) FROM deliveries")
        assert queued[0][0] >= 1, "what was accepted from a retired domain stays"

    asyncio.run(scenario())


def test_a_quota_holds_for_both_doors_and_over_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = write_node(tmp_path)
        command = Commands(settings)
        values = await command.exported()
        values["credential"][0]["daily_quota"] = 5
        done = await command.apply(values)
        assert "~ credential crm: daily_quota none → 5" in done
        async with NodeProcess(settings) as node:
            assert await submitted(node, count=4) == 250
            assert await submitted(node, count=2) == 452
            assert await submitted(node) == 250
            assert await submitted(node) == 452
            await check_http(node)
            assert await node.stop() == 0
        async with NodeProcess(settings) as node:
            assert await submitted(node) == 452, "a restart decides as before"
            del values["credential"][0]["daily_quota"]
            await command.apply(values | {"base": 2})
            await wait_reply(node.smtp, "example.com", 250)

    asyncio.run(scenario())


def test_mail_that_waits_takes_a_new_way_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        quiet = InboxSettings(verify_share=0)
        async with Internet(["a.example"], inbox=quiet) as net:
            settings = write_node(
                tmp_path,
                nameserver=net.nameserver,
                smtp_port=net.smtp_port,
                routes=[Hop("*", "127.0.0.1:9")],
            )
            text = settings.read_text()
            settings.write_text(text.replace('retry = ["1s"]', 'retry = ["1h"]'))
            command = Commands(settings)
            async with NodeProcess(settings) as node:
                # Some of them carry the reply and wait for their turn in an hour; the
                # others only wait because their line rests.
                code, _ = await asyncio.to_thread(
                    submit, node.smtp, "example.com", DEFER_AT_ONCE + 10, "b@a.example"
                )
                assert code == 250
                await wait_attempt(settings)
                values = await command.exported()
                del values["route"]
                assert "- route *" in await command.apply(values)
                async with asyncio.timeout(120):  # by their turn it would be an hour
                    while sum(each.offered for each in net.tallies.values()) < 10:
                        await asyncio.sleep(0.05)

    asyncio.run(scenario())


async def wait_attempt(settings: Path) -> None:
    """Return when a first attempt was made; the next one is an hour away."""
    async with asyncio.timeout(120):
        while query(settings, "SELECT max(attempt) FROM deliveries") != [(1,)]:
            await asyncio.sleep(0.05)


def test_a_domain_becomes_usable_once_its_key_is_published(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with SandboxDns() as dns:
            settings = write_node(tmp_path, nameserver=dns.address)
            setup = tmp_path / "setup.toml"
            setup.write_text(
                setup.read_text().replace('proof = "operator"', 'proof = "dns"')
            )
            command = Commands(settings)
            async with NodeProcess(settings) as node:
                code, text = await asyncio.to_thread(submit, node.smtp, "example.com")
                assert code == 550
                assert "TXT record s1._domainkey.example.com" in text
                said = await command("domain", "check", "example.com", status=1)
                assert "NOT PROVEN" in said

                record = json.loads(
                    await command("domain", "check", "--json", status=1)
                )["domains"][0]
                dns.put_text(record["record_name"], record["record"])
                said = await command("domain", "check", "example.com")
                assert "proven" in said
                await wait_reply(node.smtp, "example.com", 250)

    asyncio.run(scenario())


async def check_http(node: NodeProcess) -> None:
    """The quota counts for both doors, and HTTP says until when."""
    host, port = node.http
    async with httpx.AsyncClient(
        base_url=f"http://{host}:{port}", timeout=120
    ) as client:
        answer = await client.post(
            "/v1/messages",
            json={"from": "a@example.com", "to": [NOWHERE], "text": "hi"},
            headers={"Authorization": f"Bearer {API_KEY}"},
        )
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 86_400
    assert answer.json()["type"] == "/docs#too-many-requests"
