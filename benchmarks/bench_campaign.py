"""What ``make bench-campaign`` runs: a campaign job beside the bare limit and Postfix.

Every message is rendered and signed for its recipient: html of 5 KB with five fields, the
text made of it. Ours goes from the API to the sink, durable as in production; *bare* is two
processes that only render, sign and write to sockets; *postfix* gets messages of the same
size ready-made from smtp-source, so rendering does not count against it, and signs them
with OpenDKIM. A round has all three, one after the other; a figure is the median of the
rounds' own ratios. The last line is for programs: ``bare X.XX postfix X.XX``.
"""

import argparse
import os
import shutil
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from node_files import folder_on_disk
from relaybench import report
from relaybench.campaigns import campaign_node, run_bare, run_job
from relaybench.measuring import Load, measure, running_sink
from relaybench.processes import BenchError
from relaybench.relays import postfix
from relaybench.signatures import key_record, write_key

#: What a message has beside its html: the text part, header, encoding.
_BESIDE_HTML = 1.55
_WARM_UP = 300
_SBIN = ":/usr/sbin:/sbin"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit status: 1 if a round failed."""
    options = _options(arguments)
    os.environ["PATH"] += _SBIN
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # so that all is ended in order
    folder = folder_on_disk("bench-campaign-")
    try:
        run(options, folder, lambda line: print(line, flush=True))
    except BenchError as error:
        print(f"bench-campaign: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    return 0


def run(
    options: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> dict[str, float | None]:
    """Run all rounds with state in ``folder``; return the two ratios.

    Raises:
        BenchError: something does not start, lose or sign what it must.
    """
    folder.chmod(0o711)  # daemons that give up root reach what is theirs
    key = folder / "s1.pem"
    record = key_record(write_key(key))
    common = {
        "html_octets": options.html,
        "record": record,
        "timeout_s": options.timeout,
    }
    load = Load(messages=options.messages, length=int(options.html * _BESIDE_HTML))
    bare_ratios, postfix_ratios = [], []
    with ExitStack() as stack:
        sink = stack.enter_context(running_sink(folder / "sink"))
        node = stack.enter_context(campaign_node(folder / "node", key, sink.port))
        relay = None
        if not options.no_postfix:
            relay = stack.enter_context(postfix(folder / "postfix", key, sink.port))
        run_job(node, sink, min(_WARM_UP, options.messages), **common)
        for number in range(1, options.rounds + 1):
            bare = run_bare(sink, key, options.messages, **common)
            say(f"round {number}  {report.round_line(bare)}")
            job = run_job(node, sink, options.messages, **common)
            say(f"round {number}  {report.round_line(job.sent)}")
            say(f"         with upload and seal: {job.whole_s:.2f} s")
            bare_ratios.append(job.sent.rate / bare.rate)
            if relay is not None:
                theirs = measure(
                    relay, sink, load, record=record, timeout_s=options.timeout
                )
                say(f"round {number}  {report.round_line(theirs)}")
                postfix_ratios.append(job.sent.rate / theirs.rate)
    result = {"bare": _median(bare_ratios), "postfix": _median(postfix_ratios)}
    say(" ".join(f"{name} {_shown(value)}" for name, value in result.items()))
    return result


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    words = argparse.ArgumentParser(prog="bench-campaign", description=__doc__)
    words.add_argument("--messages", type=int, default=4000, help="in a round")
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--html", type=int, default=5_000, help="octets of the html")
    words.add_argument("--no-postfix", action="store_true", help="only the bare limit")
    words.add_argument(
        "--timeout", type=float, default=180.0, help="of a round, in seconds"
    )
    return words.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
