"""Where our node's time goes while it relays, for each message.

Three loads, as in ``make bench-relay``: one sampled by py-spy (a flame graph for
speedscope, and a table by thread and function), one by perf if it is there (libraries and
the kernel), one counted by strace (system calls). Each of them slows the node down: the
shares are what counts.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from node_files import folder_on_disk
from relaybench import cpu
from relaybench.measuring import Load, Sink, measure, running_sink
from relaybench.processes import PATIENCE_S, BenchError, running
from relaybench.profile import cost_lines, syscalls, thread_costs
from relaybench.relays import Relay, mailwright
from relaybench.report import round_line
from relaybench.signatures import write_key

RATE = 200
#: Calls that are counted cost much: a shorter load says as much.
COUNTED = 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit status."""
    words = argparse.ArgumentParser(prog="profile-relay", description=__doc__)
    words.add_argument("--messages", type=int, default=4000)
    words.add_argument("--most", type=int, default=14, help="lines of each kind")
    words.add_argument("--native", action="store_true", help="sample C code too")
    words.add_argument(
        "--output", type=Path, default=Path("relay-profile"), help="a folder, made"
    )
    options = words.parse_args(arguments)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options.output.mkdir(exist_ok=True)
    folder = folder_on_disk("profile-relay-")
    try:
        run(options, folder)
    except BenchError as error:
        print(f"profile-relay: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    return 0


def run(options: argparse.Namespace, folder: Path) -> None:
    """Profile with state in ``folder``; print tables, write files into the output.

    Raises:
        BenchError: the node or a tool does not start, or a load is not delivered.
    """
    write_key(folder / "s1.pem")
    load, output = Load(messages=options.messages), options.output
    with (
        running_sink(folder / "sink") as sink,
        mailwright(folder / "node", folder / "s1.pem", sink.port) as relay,
    ):
        measure(relay, sink, replace(load, messages=300), record=None)
        node = _below(relay.pids[0])
        print("unobserved  " + _load(relay, sink, load))
        _sample(options, relay, sink, node)
        if shutil.which("perf"):
            _kernel_too(options, relay, sink, node)
        counted = replace(load, messages=min(COUNTED, load.messages))
        table = output / "syscalls.txt"
        with _observing("strace", "-f", "-c", "-o", table, "-p", node, at=folder):
            _load(relay, sink, counted)
        print(f"\nsystem calls for a message ({table}):")
        for name, calls in syscalls(table.read_text()).items():
            if calls >= counted.messages / 20:
                print(f"  {calls / counted.messages:>6.2f}  {name}")


def _sample(options: argparse.Namespace, relay: Relay, sink: Sink, node: int) -> None:
    """Let py-spy watch one load; print what each thread costs and where."""
    load, path = Load(messages=options.messages), options.output / "speedscope.json"
    spy = Path(sys.executable).with_name("py-spy")
    native = ["--native"] if options.native else []
    with _observing(
        *(spy, "record", "--threads", *native, "--rate", RATE, "--duration", 3600),
        *("--format", "speedscope", "--output", path, "--pid", node),
        at=options.output,
    ):
        before = cpu.used_by_thread(node)
        print("py-spy      " + _load(relay, sink, load))
        used = {
            thread: now - before.get(thread, cpu.Cpu())
            for thread, now in cpu.used_by_thread(node).items()
        }
    costs = thread_costs(json.loads(path.read_text()), used, load.messages)
    print(f"\n{path}: for a speedscope viewer\n")
    print("\n".join(cost_lines(costs, most=options.most)))


def _kernel_too(
    options: argparse.Namespace, relay: Relay, sink: Sink, node: int
) -> None:
    """Let perf watch one load; print the dearest functions of libraries and kernel."""
    data = options.output / "perf.data"
    data.unlink(missing_ok=True)  # that it is there will say that perf has begun
    with _observing(
        *("perf", "record", "-q", "-e", "cpu-clock", "-F", 499, "-g"),
        *("-o", data, "-p", node),
        at=options.output,
    ):
        _load(relay, sink, Load(messages=options.messages))
    said = subprocess.run(
        (
            *("perf", "report", "-i", data, "--stdio", "--no-children", "-g", "none"),
            *("--sort", "dso,symbol"),
        ),
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    (options.output / "perf.txt").write_text(said)
    found = [line for line in said.splitlines() if line and not line.startswith("#")]
    print(f"\nperf, all threads ({options.output / 'perf.txt'}):")
    for line in found[: 2 * options.most]:
        print("  " + " ".join(line.split()).removesuffix(" - -"))


def _load(relay: Relay, sink: Sink, load: Load) -> str:
    return round_line(measure(relay, sink, load, record=None))


@contextmanager
def _observing(*command: object, at: Path) -> Iterator[None]:
    """Run a tool that has attached itself to the node when this begins.

    It ends, and has written what it saw, when this does: by SIGINT, as it wants.
    """
    words = [str(word) for word in command]
    log = at / f"{Path(words[0]).name}.log"
    node = int(words[-1])
    with running(words, log) as tool:
        deadline = time.monotonic() + PATIENCE_S
        while not _is_attached(words[0], node, log):
            if tool.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{words[0]}: {log.read_text()}")
            time.sleep(0.1)  # noqa: TID251  # there is no loop here
        yield
        tool.send_signal(signal.SIGINT)
        tool.wait(PATIENCE_S)


def _is_attached(tool: str, node: int, log: Path) -> bool:
    """Say whether a tool has begun to watch."""
    if tool.endswith("py-spy"):
        return "Sampling process" in log.read_text()
    if tool == "strace":
        status = Path(f"/proc/{node}/status").read_text()
        return "TracerPid:\t0\n" not in status
    return (log.parent / "perf.data").exists()


def _below(pid: int) -> int:
    """Return the only child of a process."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


if __name__ == "__main__":
    sys.exit(main())
