"""Inject faults and print what they cost, one line a row: see docs/reliability.md.

Exit status 1: something was lost or is not explained, or a control was not caught.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from faults.ledger import Row, Size
from faults.rows import ROWS


def main() -> int:
    """Run the rows that were asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--row", action="append", choices=ROWS, help="only this one")
    parser.add_argument("--short", action="store_true", help="seconds, not minutes")
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("the faults are injected as root")
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    programs = ("strace", "mkfs.ext4", "faketime")
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        parser.error(f"{', '.join(missing)}: not installed; run make peers")
    size = Size.SHORT if options.short else Size.FULL
    bad = 0
    for name in options.row or ROWS:
        with tempfile.TemporaryDirectory(prefix=f"mailwright-{name}-") as folder:
            begun = time.monotonic()
            row = asyncio.run(ROWS[name](Path(folder), size))
            took_s = time.monotonic() - begun
        show(row, took_s, as_json=options.json)
        bad += not row.is_good
    return 1 if bad else 0


def show(row: Row, took_s: float, *, as_json: bool) -> None:
    """Print one row, and what was wrong with it."""
    if as_json:
        print(json.dumps({**asdict(row), "good": row.is_good, "took_s": took_s}))
    else:
        print(f"{row}  [{took_s:.0f} s]")
        for complaint in row.complaints:
            print(f"    {complaint}", file=sys.stderr)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
