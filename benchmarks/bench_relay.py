"""What ``make bench-relay`` runs: relays side by side, measured from outside.

smtp-source → a relay → one sink, on loopback. Rounds are interleaved (A B C A B C …), so
that what else the machine does falls on all alike. The last line is for programs:
``ratio_postfix X.XX ratio_haraka X.XX``, medians of ours by medians of theirs.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from node_files import folder_on_disk
from relaybench import report
from relaybench.measuring import Load, Round, Sink, measure, running_sink
from relaybench.processes import BenchError
from relaybench.relays import SETUPS, Relay
from relaybench.signatures import key_record, write_key

#: Before the first round: programs are loaded, code is warm, connections are open.
WARM_UP = 300
#: Daemons that Debian keeps where only root's shell looks.
_SBIN = ":/usr/sbin:/sbin"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit status: 1 if a round failed."""
    options = _options(arguments)
    os.environ["PATH"] += _SBIN
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # so that all is ended in order
    # stdout is for the JSON alone, if that is asked for.
    out = sys.stderr if options.json else sys.stdout
    folder = folder_on_disk("bench-relay-")
    try:
        result = run(options, folder, lambda line: print(line, file=out, flush=True))
    except BenchError as error:
        print(f"bench-relay: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(result, indent=2))
    return 0


def run(
    options: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> dict[str, object]:
    """Run all rounds with state in ``folder``; say what happens; return it all.

    Raises:
        BenchError: a relay does not start, or a round cannot be counted.
    """
    load = Load(
        messages=options.messages,
        length=options.length,
        sessions=options.sessions,
        options=tuple(options.source_options.split()),
    )
    folder.chmod(0o711)  # daemons that give up root reach what is theirs
    key = folder / "s1.pem"
    record = key_record(write_key(key))
    with ExitStack() as stack:
        sink = stack.enter_context(running_sink(folder / "sink"))
        relays = [
            stack.enter_context(SETUPS[name](folder / name, key, sink.port))
            for name in options.only
        ]
        say("load: " + " ".join(load.command("PORT")))
        for relay in relays:
            say(f"{relay.name}:")
            for line in relay.settings:
                say(f"  {line}")
        direct = Relay("no relay", sink.port, (sink.process.pid,), ())
        warm = replace(load, messages=min(WARM_UP, load.messages))
        for relay in relays:
            measure(relay, sink, warm, record=None, timeout_s=options.timeout)
        rounds, ceilings, kept = [], [], []
        for number in range(1, options.rounds + 1):
            ceilings.append(_direct(direct, sink, load, options.timeout))
            kept.append(
                _direct(direct, sink, replace(load, options=("-d",)), options.timeout)
            )
            for relay in relays:
                rounds.append(
                    measure(relay, sink, load, record=record, timeout_s=options.timeout)
                )
                say(f"round {number}  {report.round_line(rounds[-1])}")
    return _sum_up(load, relays, rounds, ceilings, kept, say)


def _direct(direct: Relay, sink: Sink, load: Load, timeout_s: float) -> float:
    """Return how many messages a second the sink takes with no relay between."""
    return measure(direct, sink, load, record=None, timeout_s=timeout_s).rate


def _sum_up(
    load: Load,
    relays: Sequence[Relay],
    rounds: Sequence[Round],
    ceilings: Sequence[float],
    kept: Sequence[float],
    say: Callable[[str], None],
) -> dict[str, object]:
    """Say what the rounds come to, ratios last; return all of it."""
    rates = report.medians(rounds)
    times = report.ratios(rates)
    source, ceiling = statistics.median(ceilings), statistics.median(kept)
    warnings = report.warnings(rates, ceiling, rounds)
    say(
        f"no relay, this load to the sink: {source:.0f}/s; "
        f"the sink's ceiling, on connections that are kept: {ceiling:.0f}/s"
    )
    cpu = report.cpu_medians(rounds)
    for name, rate in rates.items():
        say(f"median   {name:<12}{rate:>8.0f}/s  cpu a message {cpu[name]:.2f} ms")
    for line in warnings:
        say(f"warning: {line}")
    say(report.last_line(times))
    return {
        "load": asdict(load),
        "settings": {relay.name: list(relay.settings) for relay in relays},
        "rounds": [asdict(each) | {"rate": each.rate} for each in rounds],
        "no_relay_per_s": source,
        "sink_ceiling_per_s": ceiling,
        "medians_per_s": rates,
        "cpu_medians_ms": cpu,
        "ratios": times,
        "warnings": warnings,
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    words = argparse.ArgumentParser(prog="bench-relay", description=__doc__)
    load = Load()
    words.add_argument("--messages", type=int, default=load.messages, help="in a round")
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--length", type=int, default=load.length, help="in octets")
    words.add_argument("--sessions", type=int, default=load.sessions)
    words.add_argument(
        "--source-options",
        default="",
        metavar="TEXT",
        help='more for smtp-source: --source-options="-d" keeps its connections',
    )
    words.add_argument(
        "--only",
        type=_names,
        default=list(SETUPS),
        metavar="NAME,…",
        help=f"of {', '.join(SETUPS)}",
    )
    words.add_argument(
        "--timeout", type=float, default=120.0, help="of a round, in seconds"
    )
    words.add_argument("--json", action="store_true", help="the figures, on stdout")
    return words.parse_args(arguments)


def _names(text: str) -> list[str]:
    """Return the relays named, in the order of a round."""
    wanted = text.split(",")
    if unknown := set(wanted) - set(SETUPS):
        raise argparse.ArgumentTypeError(f"no such relay: {', '.join(unknown)}")
    return [name for name in SETUPS if name in wanted]


if __name__ == "__main__":
    sys.exit(main())
