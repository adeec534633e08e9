"""Send letters of every kind and look at what arrives: see docs/outbound.md.

Exit status 1: something is not as it was stored and signed, does not verify, or was
changed unseen, or the control was not caught.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from outbound import real_mail, rows

TAMPERED = 50
T = TypeVar("T")


def main() -> int:
    """Run the rows; return the exit status."""
    parser = argparse.ArgumentParser(prog="make outbound", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--tampered", type=int, default=TAMPERED)
    parser.add_argument("--seed", type=int, default=1, help="of the letters")
    options = parser.parse_args()
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = [name for name in ("opendkim", "rspamd") if not shutil.which(name)]
    if missing:
        parser.error(f"{', '.join(missing)}: not installed; run make peers")
    good = [
        _truth(options.messages, options.seed),
        _control(),
        _tampering(options.tampered, options.seed),
        _corpus(),
    ]
    return 0 if all(good) else 1


def _truth(messages: int, seed: int) -> bool:
    def say(line: str) -> None:
        if sys.stderr.isatty():
            print(line, file=sys.stderr)

    tally = _in_folder(
        lambda folder: asyncio.run(rows.truth(folder, messages, seed=seed, say=say))
    )
    print(tally)
    doors = " ".join(f"{door} {count}" for door, count in sorted(tally.doors.items()))
    print(f"    copies {tally.copies} by {doors}", flush=True)
    _complain(tally.complaints)
    return tally.is_good


def _control() -> bool:
    tally = _in_folder(lambda folder: asyncio.run(rows.control(folder)))
    spoilt = tally.messages - tally.identical
    seen = {tally.messages - count for count in tally.verified.values()}
    is_caught = spoilt > 0 and seen == {spoilt}
    said = "caught by all" if is_caught else "MISSED"
    print(f"control (a node that signs before it edits): {said}: {tally}", flush=True)
    return is_caught


def _tampering(messages: int, seed: int) -> bool:
    outcome = _in_folder(
        lambda folder: asyncio.run(rows.tampering(folder, messages, seed=seed))
    )
    print(outcome, flush=True)
    _complain(outcome.complaints)
    return outcome.is_good


def _corpus() -> bool:
    if not real_mail.mails():
        print(real_mail.NOT_RUN)
        return True
    outcome = _in_folder(lambda folder: asyncio.run(rows.corpus(folder)))
    print(outcome)
    for line in outcome.details():
        print(f"    {line}")
    _complain(outcome.complaints)
    return outcome.is_good


def _in_folder(run: Callable[[Path], T]) -> T:
    with tempfile.TemporaryDirectory(prefix="mailwright-outbound-") as folder:
        return run(Path(folder))


def _complain(complaints: list[str]) -> None:
    for each in complaints:
        print(f"    {each}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
