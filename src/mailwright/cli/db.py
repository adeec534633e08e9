"""``mailwright db``: the read-only door to the database, whether the node runs or not."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mailwright.cli.failures import CommandError, command_errors
from mailwright.cli.operator import JsonOption, SettingsOption
from mailwright.config.loading import load_node
from mailwright.daemon.state import DATABASE_NAME, check_owner
from mailwright.queue.copies import BODY_NAMES, COUNTS
from mailwright.store.check import clear_mark, full_check
from mailwright.store.manifest import BODIES
from mailwright.store.sqlite import DIALECT, open_reader

db_app = typer.Typer(
    help="Look at the database, read-only, also while the node runs.",
    no_args_is_help=True,
)

#: Damage was found.
_EXIT_DAMAGED: Final = 1
_MISSING_SHOWN: Final = 10


@db_app.command("check")
def check(
    settings: SettingsOption,
    full: Annotated[
        bool, typer.Option("--full", help="Also whether indexes agree; takes longer.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check all of the database, and that every body is there; 1 when damage is found.

    A start that is refused for damage goes on once nothing is found any more.
    """
    with command_errors():
        database = _database(settings)
        try:
            checked = full_check(database, with_indexes=full)
            missing = [] if checked.findings else _missing_bodies(database)
        except sqlite3.Error as error:
            raise CommandError(f"the database cannot be read: {error}") from error
        findings = [*checked.findings, *missing]
        if not findings:
            clear_mark(database)
    if as_json:
        print(json.dumps({"tables": checked.tables, "findings": findings}))
    else:
        for finding in findings:
            print(finding)
        if not findings:
            print(f"{checked.tables} tables, no damage")
    if findings:
        raise typer.Exit(_EXIT_DAMAGED)


@db_app.command("stats")
def stats(settings: SettingsOption, as_json: JsonOption = False) -> None:
    """Show how large the database is, and what is in it."""
    with command_errors():
        database = _database(settings)
        try:
            found = _stats(database)
        except sqlite3.Error as error:
            raise CommandError(f"the database cannot be read: {error}") from error
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:<20} {value}")


def _database(settings: Path) -> Path:
    node = load_node(settings)
    check_owner(node.state_dir)
    database = node.state_dir / DATABASE_NAME
    if not database.exists():
        raise CommandError(f"there is no database in {node.state_dir}")
    return database


def _missing_bodies(database: Path) -> list[str]:
    """Return what to say of rows whose body is gone; a few of them stand for all."""
    missing: list[str] = []
    with closing(open_reader(database)) as connection:
        for (name,) in connection.execute(_text(BODY_NAMES)):
            if (database.parent / BODIES / name).exists():
                continue
            # The running node may have forgotten both since.
            missing.append(f"the body {name} is missing")
            if len(missing) >= _MISSING_SHOWN:
                break
    return missing


def _text(query: Any) -> str:
    text: str = query.compiled(DIALECT).text
    return text


def _stats(database: Path) -> dict[str, int]:
    log = database.with_name(f"{database.name}-wal")
    with closing(open_reader(database)) as connection:
        connection.execute("BEGIN")
        found = {
            f"{name}_pages": _pragma(connection, f"{pragma}")
            for name, pragma in (("all", "page_count"), ("free", "freelist_count"))
        }
        found["page_octets"] = _pragma(connection, "page_size")
        found["octets"] = database.stat().st_size
        found["log_octets"] = log.stat().st_size if log.exists() else 0
        facts = dict(connection.execute("SELECT name, value FROM schema_facts"))
        found["schema"], found["epoch"] = facts["version"], facts["epoch"]
        found["restores"] = facts.get("restores", 0)
        for name, query in COUNTS.items():
            found[name] = connection.execute(_text(query)).fetchone()[0]
        days = "SELECT count(*) FROM days"
        found["days"] = connection.execute(days).fetchone()[0]
    return found


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
