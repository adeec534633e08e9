"""``apply``, ``export``, ``settings`` and ``domain``: on the database, and on a node."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from typer.testing import CliRunner

from fakes.resolver import FakeResolver
from mailwright.api.app import create_operator_app
from mailwright.api.server import ApiServer
from mailwright.cli.main import command_line
from mailwright.clock import SystemClock
from mailwright.config.loading import load_node
from mailwright.daemon.operating import SOCKET_NAME, open_offices
from mailwright.daemon.state import open_state
from mailwright.mta.submission.budget import ByteBudget

app = command_line()

NODE = """
name = "n1"
hostname = "mta1.example.com"
state_dir = "state"
bootstrap = "setup.toml"

[dns]
nameservers = ["127.0.0.1"]
port = 9
timeout = "100ms"
"""
SETUP = """
[[tenant]]
name = "acme"

[[source]]
name = "ip1"
ehlo_name = "mta1.example.com"

[[pool]]
name = "main"
sources = { ip1 = 1 }

[[stream]]
tenant = "acme"
name = "news"
class = "bulk"
pool = "main"

[[credential]]
tenant = "acme"
name = "crm"
stream = "news"
secret_file = "crm.secret"

[[sending_domain]]
tenant = "acme"
domain = "example.com"
selector = "s1"
key_file = "keys/s1.pem"
"""


class Commands:
    """Runs the command line in this process and keeps what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.setup = folder / "setup.toml"
        (folder / "node.toml").write_text(NODE)
        self.setup.write_text(SETUP)
        (folder / "crm.secret").write_text("canary-secret-of-the-crm-0123456789")
        (folder / "keys").mkdir()
        pem = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        (folder / "keys" / "s1.pem").write_bytes(pem)
        self.out = self.err = ""

    def __call__(self, *words: str) -> int:
        settings = str(self.folder / "node.toml")
        result = CliRunner().invoke(app, [*words, "--settings", settings])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        self.out, self.err = result.stdout, result.stderr
        return result.exit_code

    def apply(self, text: str, *more: str) -> int:
        self.setup.write_text(text)
        return self("apply", str(self.setup), *more)


@pytest.fixture
def command(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


@contextmanager
def running_node(folder: Path) -> Iterator[None]:
    """Hold the database of the node and open its operator's door, in a thread."""
    node = load_node(folder / "node.toml")
    opened = threading.Event()
    stops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        stops.append((asyncio.get_running_loop(), stop))
        clock = SystemClock()
        async with open_state(node, clock) as state:
            dns = FakeResolver()
            budget = ByteBudget(64_000_000)
            offices = open_offices(state, clock, lambda: dns, budget)
            server = ApiServer(
                create_operator_app(offices.ports), path=node.state_dir / SOCKET_NAME
            )
            await server.open()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(server.run())
                await server.wait_started()
                opened.set()
                await stop.wait()
                await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert opened.wait(120)
        yield
    finally:
        loop, stop = stops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(120)


def check_all(command: Commands) -> None:
    """Walk through the commands; they say the same with a node and without one."""
    assert command("export") == 0
    exported = command.out
    assert exported.startswith("# The shared settings")
    assert "base = 1\n" in exported
    assert 'secret = "kept"' in exported
    assert "canary" not in exported

    assert command.apply(exported) == 0
    assert command.out == "nothing to change; the settings are at version 1\n"

    changed = exported.replace('class = "bulk"', 'class = "transactional"')
    assert command.apply(changed, "--dry-run") == 0
    assert command.out == (
        '~ stream acme/news: class "bulk" → "transactional"\n'
        "nothing was changed; the settings are at version 1\n"
    )
    assert command.apply(changed, "--reason", "it is not\x1b bulk", "--json") == 0
    done = json.loads(command.out)
    assert (done["version"], done["dry_run"], len(done["changes"])) == (2, False, 1)

    other = exported.replace('"mta1.example.com"', '"mta2.example.com"')
    assert command.apply(other) == 1
    assert "since version 1 and are at version 2 now" in command.err

    assert command("settings", "log") == 0
    assert "\x1b" not in command.out
    assert command.out.splitlines()[0].endswith("it is not\\x1b bulk")
    assert "changed: stream acme/news" in command.out
    assert command("settings", "log", "--limit", "1", "--json") == 0
    assert json.loads(command.out)["next"] == 2

    assert command("settings", "show", "1") == 0
    old = command.out
    assert "# + stream acme/news" in old
    assert command("settings", "show", "9") == 1
    assert "no version 9" in command.err
    assert command.apply(old, "--reason", "back") == 0
    assert '"transactional" → "bulk"' in command.out


def test_the_commands_work_on_the_database_while_no_node_runs(
    command: Commands,
) -> None:
    check_all(command)


def test_the_commands_work_through_the_socket_while_a_node_runs(
    command: Commands,
) -> None:
    with running_node(command.folder):
        check_all(command)
        assert (
            command("key", "create", "app", "--tenant", "acme", "--stream", "news") == 0
        )
        assert command.out.startswith("mw_app_")
        assert command("key", "revoke", "app") == 0
        assert command("domain", "check", "example.com") == 1
        assert "NOT PROVEN" in command.out
        assert "name:  s1._domainkey.example.com" in command.out
        assert "value: v=DKIM1; k=ed25519; p=" in command.out
    # What the node left behind does not stop the next command.
    assert command("settings", "log") == 0
    assert "revoked: credential app" in command.out


def test_files_that_a_setup_file_names_are_read_from_its_folder(
    command: Commands,
) -> None:
    assert command.apply(SETUP) == 0
    (command.folder / "crm.secret").write_text("another-secret-of-the-crm-9876543210")
    assert command.apply(SETUP) == 0
    assert "~ credential crm: new secret" in command.out


def test_a_wrong_file_exits_2_and_one_that_cannot_be_had_exits_1(
    command: Commands,
) -> None:
    assert command.apply(SETUP.replace('pool = "main"', 'pool = "mian"')) == 2
    assert "stream[0].pool" in command.err
    assert command.apply(SETUP.replace("keys/s1.pem", "keys/none.pem")) == 2
    assert "sending_domain[0].key_file" in command.err
    assert "No such file" in command.err
    assert command("apply", str(command.folder / "none.toml")) == 2

    command.setup.write_text(SETUP)
    assert command("export") == 0, "it was set up by now"
    kept = SETUP.replace('key_file = "keys/s1.pem"', 'key = "kept"')
    assert command.apply(kept.replace('"s1"', '"s2"')) == 1
    assert "setup.toml: sending_domain[0].key: there is no key" in command.err
    (command.folder / "keys" / "s1.pem").write_text("canary")
    assert command.apply(SETUP) == 1
    assert "setup.toml: sending_domain[0].key_file: holds no PEM" in command.err
    assert "canary" not in command.err


def test_a_check_exits_0_only_when_all_is_well(command: Commands) -> None:
    assert command("domain", "check", "--json") == 1
    [found] = json.loads(command.out)["domains"]
    assert found["is_published"] is None
    assert command("domain", "check", "nobody.example") == 1
    assert "no such sending domain" in command.err
