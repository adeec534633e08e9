"""The service: what the unit promises, and a node under all that it forbids."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes.node_process import SERVE, NodeProcess, query_days, write_node
from fakes.submitting import Book, HttpClient, Letter, submit_all
from mailwright.daemon.lifecycle import DOORS_CLOSE_S, FLIGHTS_END_S, Exit
from mailwright.daemon.state import supplied_node_key
from mailwright.queue.delivery import State
from mailwright.sandbox.internet import Internet
from scenario.confine import CREDENTIALS, UID, Plan, lines_of

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "mailwright.service"
CONFINE = str(Path(__file__).with_name("confine.py"))
FORBIDDEN = str(Path(__file__).with_name("forbidden.py"))
RENDERING = str(Path(__file__).with_name("rendering_probe.py"))

pytestmark = pytest.mark.scenario


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, check=False
    )


def test_exposure_is_at_most_one_and_a_half() -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=15", UNIT)
    assert done.returncode == 0, done.stdout
    found = re.search(r"exposure level for mailwright.service: ([0-9.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= 1.5


def test_the_unit_without_its_restrictions_is_over_that(tmp_path: Path) -> None:
    bare = tmp_path / UNIT.name
    bare.write_text(UNIT.read_text().replace("SystemCallFilter=", "#"))
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=15", bare)
    assert done.returncode != 0


def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    # The only thing that is not there is the program itself.
    unit = tmp_path / UNIT.name
    unit.write_text(
        UNIT.read_text().replace("/opt/mailwright/bin/mailwright", "/bin/true")
    )
    done = run("systemd-analyze", "verify", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_user_and_folders_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    sysusers, tmpfiles = (
        ROOT / "systemd" / f"mailwright.{kind}" for kind in ("sysusers", "tmpfiles")
    )
    done = run("systemd-sysusers", f"--root={tmp_path}", sysusers)
    assert done.returncode == 0, done.stderr
    assert "\nmailwright:" in "\n" + (tmp_path / "etc/passwd").read_text()
    if os.geteuid() == 0:
        done = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", tmpfiles)
        assert done.returncode == 0, done.stderr
        modes = {
            str(each.relative_to(tmp_path)): each.stat().st_mode & 0o777
            for each in tmp_path.rglob("mailwright")
        }
        assert modes == {
            "etc/mailwright": 0o750,
            "var/lib/mailwright": 0o700,
            "var/log/mailwright": 0o750,
        }


def test_the_unit_agrees_with_the_node() -> None:
    lines = {key: values[-1] for key, values in lines_of(UNIT).items()}
    # Statuses of which a restart makes nothing better.
    statuses = {int(word) for word in lines["RestartPreventExitStatus"].split()}
    assert statuses == {Exit.SETTINGS, Exit.DISK}
    assert (
        float(lines["TimeoutStopSec"].removesuffix("s")) > DOORS_CLOSE_S + FLIGHTS_END_S
    )
    # The name by which the node looks for its key.
    name = lines["LoadCredential"].partition(":")[0]
    assert name == "node.key"


def test_the_supplied_key_is_found_by_the_name_in_the_unit(tmp_path: Path) -> None:
    name = lines_of(UNIT)["LoadCredential"][0].partition(":")[0]
    (tmp_path / name).write_bytes(bytes(32))
    assert (
        supplied_node_key({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == tmp_path / name
    )


class Manager:
    """What the node tells its service manager; :meth:`listening` to it all the time.

    The kernel keeps a few datagrams that nobody reads, and refuses the next.
    """

    def __init__(self, name: str) -> None:
        self.address = f"@{name}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name}")
        self._socket.setblocking(False)
        self._heard: list[str] = []
        self._news = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            listens = tasks.create_task(self._listen())
            yield
            listens.cancel()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            said = await loop.sock_recv(self._socket, 4096)
            self._heard += said.decode().split("\n")
            self._news.set()

    async def wait(self, wanted: str) -> None:
        """Return when ``wanted`` was said, after what was last waited for."""
        async with asyncio.timeout(120):
            while wanted not in self._heard:
                self._news.clear()
                await self._news.wait()
        del self._heard[: self._heard.index(wanted) + 1]

    def close(self) -> None:
        self._socket.close()


def free_low_port() -> int:
    """Return a port that only the privileged may listen on, if the system has such."""
    # Tests that run at the same time begin to look at different ones.
    for port in range(1023 - os.getpid() % 200, 600, -1):
        with socket.socket() as trying:
            try:
                trying.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no low port is free")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Make the folders of a service."""
    for name in ("state", "logs", "credentials"):
        (tmp_path / name).mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "credentials" / "node.key").write_bytes(bytes(range(32)))
    # The interpreter, its packages and this checkout may lie anywhere.
    trees = {sys.base_prefix, sys.prefix, str(ROOT), str(tmp_path)}
    trees.update(path for path in sys.path if os.path.isdir(path))
    path = os.environ.get("PYTHONPATH")
    return Plan(
        str(UNIT),
        sorted(trees),
        str(tmp_path / "state"),
        str(tmp_path / "logs"),
        str(tmp_path / "credentials"),
        {"PYTHONPATH": path} if path else {},
    )


#: What a system call says that is not let through.
REFUSALS = {"EPERM", "EACCES", "EROFS", "ENOENT", "ENOSYS", "EAFNOSUPPORT"}


def probe(plan: Plan) -> dict[str, Any]:
    """Try everything under ``plan``; return what came."""
    low_port, other_pid = str(free_low_port()), str(os.getpid())
    attempts = (sys.executable, FORBIDDEN, plan.state, low_port, other_pid)
    done = run(sys.executable, CONFINE, plan.to_json(), "--", *attempts)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def let_through(report: dict[str, Any]) -> set[str]:
    found = report["found"]
    return {name for name in report["forbidden"] if found[name] not in REFUSALS}


@pytest.mark.needs("confinement")
def test_what_the_unit_forbids_is_refused_and_what_it_allows_works(plan: Plan) -> None:
    report = probe(plan)
    assert let_through(report) == set()
    found = report["found"]
    assert {name for name in report["allowed"] if found[name]} == set()
    status = dict(line.split(":\t", 1) for line in report["status"].splitlines())
    assert status["Uid"].split() == [str(UID)] * 4
    assert status["Groups"].strip() == ""
    only_low_ports = f"{1 << 10:016x}"
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert status[name] == only_low_ports, name
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert report["home"] == []
    assert report["key"]


@pytest.mark.needs("confinement")
def test_templates_are_rendered_and_bounded_under_all_restrictions(plan: Plan) -> None:
    probing = replace(plan, environment={"PYTHONPATH": f"{ROOT}/src:{ROOT}/tests"})
    done = run(
        sys.executable, CONFINE, probing.to_json(), "--", sys.executable, RENDERING
    )
    assert done.returncode == 0, done.stderr
    bound = "content: takes too much time or memory"
    assert json.loads(done.stdout) == ["made", bound, bound, "made"]


@pytest.mark.needs("confinement")
@pytest.mark.parametrize(
    ("without", "expected"),
    [
        ("ProtectSystem", {"write an open folder"}),
        ("ProtectProc", {"see other processes"}),
        ("ProcSubset", {"read /proc/stat", "read /proc/sys"}),
        ("MemoryDenyWriteExecute", {"writable code"}),
        ("RestrictSUIDSGID", {"setuid bit", "setgid bit"}),
        ("RestrictAddressFamilies", {"a netlink socket"}),
        ("SystemCallFilter=~", {"lock memory", "keyctl"}),
    ],
)
def test_without_a_line_the_probe_finds_what_it_forbade(
    plan: Plan, tmp_path: Path, without: str, expected: set[str]
) -> None:
    """The known-bad control, one line at a time; all else stays in force."""
    lines = UNIT.read_text().splitlines()
    weak = tmp_path / "weak.service"
    weak.write_text(
        "\n".join(line for line in lines if not line.startswith(without)) + "\n"
    )
    assert expected <= let_through(probe(replace(plan, unit=str(weak))))


def test_a_line_of_a_unit_that_is_not_applied_is_an_error(
    plan: Plan, tmp_path: Path
) -> None:
    from scenario.confine import Unit

    unit = Unit({"ProtectEverything": ["yes"], "User": ["mailwright"]})
    with pytest.raises(SystemExit, match="ProtectEverything"):
        unit.check_used()


LETTERS = (
    Letter("small", ("small@there.example",)),
    Letter("large", ("large@there.example", "also@there.example"), 90_000),
)


@asynccontextmanager
async def confined_node(
    plan: Plan, port: int, net: Internet, folder: Path
) -> AsyncIterator[NodeProcess]:
    """Run a node under ``plan`` that also listens on ``port``."""
    more = (
        f'[[smtp]]\nlisten = "127.0.0.1:{port}"\ntls = "none"\n'
        'networks = ["127.0.0.0/8"]\ncredential = "crm"\n'
        f'[log]\nevents_file = "{plan.logs}/events.jsonl"\n'
    )
    settings = write_node(
        folder, nameserver=net.nameserver, smtp_port=net.smtp_port, more=more
    )
    for name in ("node.toml", "setup.toml", "s1.pem"):
        (folder / name).chmod(0o644)  # as /etc/mailwright lets the service read them
    command = (CONFINE, plan.to_json(), "--", sys.executable, *SERVE)
    async with NodeProcess(settings, command) as node:
        try:
            yield node
        except BaseException as error:
            error.add_note(node.text)
            raise


async def submit_and_receive(node: NodeProcess, port: int, net: Internet) -> None:
    """Send by SMTP on ``port`` and by HTTP; return when all four have arrived."""
    book = Book()
    await submit_all(("127.0.0.1", port), LETTERS, book)
    assert len(book.acknowledged) == 2
    client = HttpClient(node.http)
    await client.submit(Letter("http", ("http@there.example",)))
    await client.close()
    async with asyncio.timeout(120):
        await net.inbox.wait_copies(4)


async def scrape(node: NodeProcess) -> str:
    host, port = node.http
    async with httpx.AsyncClient(trust_env=False, timeout=120) as http:
        return (await http.get(f"http://{host}:{port}/metrics")).text


@pytest.mark.needs("confinement")
def test_a_node_under_all_restrictions_delivers(plan: Plan, tmp_path: Path) -> None:
    """Small and large, on a low port, with TLS on the way out, and says how it is."""
    manager = Manager(f"mailwright-test-{os.getpid()}")
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1500000"}
    under = replace(plan, environment=plan.environment | environment)
    port = free_low_port()

    async def main() -> None:
        async with (
            manager.listening(),
            Internet(["there.example"]) as net,
            confined_node(under, port, net, tmp_path) as node,
        ):
            await manager.wait("READY=1")
            await submit_and_receive(node, port, net)
            text = await scrape(node)
            assert "\nprocess_resident_memory_bytes " in text
            assert "\nprocess_open_fds " in text
            await manager.wait("WATCHDOG=1")
            made = await asyncio.to_thread(
                run, sys.executable, "-m", "mailwright", "key", "create", "second",
                "--tenant", "acme", "--stream", "news", "--settings", node.settings,
            )  # fmt: skip
            assert made.returncode == 0, made.stderr  # through the operator's socket
            node.send(signal.SIGHUP)
            await manager.wait("RELOADING=1")
            await manager.wait("READY=1")
            node.send(signal.SIGTERM)
            await manager.wait("STOPPING=1")
            assert await node.wait() == Exit.OK

    asyncio.run(main())
    manager.close()
    states = [row[0] for row in query_days(tmp_path / "node.toml", "finished", "state")]
    assert states == [State.DELIVERED] * 4
    lines = (tmp_path / "logs" / "events.jsonl").read_text().splitlines()
    delivered = [line for line in lines if '"event":"delivered"' in line]
    assert len(delivered) == 4
    assert all('"tls":"TLSv1.3"' in line for line in delivered)
    # The key came from the service manager; none was made.
    assert not (tmp_path / "state" / "node.key").exists()
    assert not Path(CREDENTIALS).exists()
