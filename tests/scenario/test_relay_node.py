"""``benchmarks/relay-node``, measured from outside as anyone would."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fakes.postfix import running_sink
from mailwright.mta.dkim.keys import generate, write_new_key
from mailwright.mta.dkim.records import record_text

pytestmark = [pytest.mark.scenario]
ROOT = Path(__file__).parents[2]
MESSAGES = 200


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


async def relay(folder: Path, key: Path) -> list[bytes]:
    """Run a load through the node and return what the sink took."""
    port = free_port()
    async with running_sink(folder / "sink") as sink:
        variables = {
            "LISTEN": f"127.0.0.1:{port}",
            "SINK": f"127.0.0.1:{sink.port}",
            "DKIM_KEY": str(key),
            "TMPDIR": str(folder),
        }
        node = await asyncio.create_subprocess_exec(
            ROOT / "benchmarks" / "relay-node", env=os.environ | variables, cwd="/"
        )
        async with asyncio.timeout(120):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
            load = await asyncio.create_subprocess_exec(
                *("smtp-source", "-s", "5", "-m", str(MESSAGES), "-l", "5000"),
                *("-f", "a@example.com", "-t", "b@dest.example", f"127.0.0.1:{port}"),
            )
            assert await load.wait() == 0
            while len(letters := list((folder / "sink").glob("letter.*"))) < MESSAGES:
                await asyncio.sleep(0.05)
            node.send_signal(signal.SIGTERM)
            assert await node.wait() == 0
    return [letter.read_bytes() for letter in letters]


def test_it_relays_signed_until_sigterm_and_leaves_nothing(tmp_path: Path) -> None:
    key = tmp_path / "s1.pem"
    write_new_key(key, generate("rsa-sha256"))
    record = record_text(load_pem_private_key(key.read_bytes(), None)).encode()
    taken = asyncio.run(relay(tmp_path, key))
    assert len(taken) == MESSAGES
    for letter in taken[:20]:
        # smtp-sink puts fields of its own on top, and ends lines in LF.
        octets = letter[letter.index(b"DKIM-Signature:") :].replace(b"\n", b"\r\n")
        signed = octets.rstrip(b"\r\n") + b"\r\n"
        assert dkim.DKIM(signed).verify(dnsfunc=lambda *_, **__: record)
    assert not list(tmp_path.glob("relay-node-*"))


def test_a_missing_variable_is_named() -> None:
    done = subprocess.run(
        [ROOT / "benchmarks" / "relay-node"],
        env={"PATH": os.environ["PATH"], "LISTEN": "127.0.0.1:0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "relay-node: set SINK\n")
