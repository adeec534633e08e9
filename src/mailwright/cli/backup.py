"""``mailwright backup`` and ``restore``: a copy of everything durable, and back."""

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Annotated, Final

import typer

from mailwright.cli.failures import CommandError, command_errors
from mailwright.cli.operator import JsonOption, SettingsOption
from mailwright.clock import SystemClock
from mailwright.config.loading import load_node
from mailwright.config.problems import printable
from mailwright.daemon.restoring import Restored, back_up, restore
from mailwright.store.manifest import Manifest

#: The node's threads go before a backup.
_NICENESS: Final = 10
#: How often it is told how far it is.
_TOLD_EVERY_S: Final = 1.0


def backup_command(
    folder: Annotated[
        Path, typer.Argument(help="Made, or empty; for this backup alone.")
    ],
    settings: SettingsOption,
    as_json: JsonOption = False,
) -> None:
    """Copy everything durable into a folder, while the node runs or not.

    Every message that was acknowledged before is in it. The node key is not: keep a copy
    of it elsewhere.
    """
    with command_errors(), _system_errors():
        node = load_node(settings)
        os.nice(_NICENESS)
        manifest = back_up(node, folder, SystemClock(), _teller())
    if as_json:
        print(json.dumps(asdict(manifest)))
        return
    print(f"{folder}: {_manifest_text(manifest)}")
    print(manifest.note)


def restore_command(
    folder: Annotated[Path, typer.Argument(help="Of a backup.")],
    settings: SettingsOption,
    replace: Annotated[
        bool, typer.Option("--replace", help="Move a state that is there aside.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the node's state from a backup; nothing leaves until release-all.

    The node must not run, and its node key must be in place. Shows what the copy may
    send a second time.
    """
    with command_errors(), _system_errors():
        node = load_node(settings)
        restored = asyncio.run(
            restore(node, folder, SystemClock(), _teller(), replace_state=replace)
        )
    if as_json:
        print(json.dumps(_restored_json(restored)))
    else:
        _print_restored(restored)


@contextmanager
def _system_errors() -> Iterator[None]:
    """Say in a line what the system refused."""
    try:
        yield
    except OSError as error:
        name = "" if error.filename is None else f"{error.filename}: "
        raise CommandError(f"{name}{error.strerror or error}") from error
    except sqlite3.Error as error:
        raise CommandError(f"the database: {error}") from error


def _teller() -> Callable[[str, int, int], None]:
    """Return what says how far it is, once a second, where somebody looks."""
    last = perf_counter()

    def tell(what: str, done: int, total: int) -> None:
        nonlocal last
        now = perf_counter()
        if now - last >= _TOLD_EVERY_S:
            last = now
            share = f"{100 * done // total} %" if total else str(done)
            print(f"{what}: {share}", file=sys.stderr)

    return tell


def _manifest_text(manifest: Manifest) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in manifest.counts.items())
    return (
        f"state of node {printable(manifest.node)} of {manifest.taken_at}: {counts}, "
        f"{manifest.bodies} bodies in files"
    )


def _restored_json(restored: Restored) -> dict[str, object]:
    return {
        "manifest": asdict(restored.manifest),
        "replaced": None if restored.replaced is None else str(restored.replaced),
        "held": True,
        "deliveries": sum(each.deliveries for each in restored.again),
        "again": [
            {**asdict(each), "day": each.day.isoformat()} for each in restored.again
        ],
    }


def _print_restored(restored: Restored) -> None:
    print(_manifest_text(restored.manifest))
    if restored.replaced is not None:
        print(f"what was there before is in {restored.replaced}")
    if not restored.again:
        print("nothing of it waits to be sent")
    else:
        print("may be sent a second time, by day of acceptance:")
    for each in restored.again:
        print(
            f"  {each.day} {printable(each.tenant)} {printable(each.stream)}: "
            f"{each.deliveries} deliveries, {each.under_way} of them under way then"
        )
    print(
        "all mail is held: start the node, cancel what must not go (mailwright queue "
        "cancel), then mailwright release-all"
    )
    print(
        "suppressions, unsubscribes and settings that came after the backup are not in "
        "it: bring them in before the release"
    )
