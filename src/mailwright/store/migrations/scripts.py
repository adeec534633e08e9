"""Runs one engine's script inside a migration."""

from importlib.resources import files

from alembic import op


def statements(script: str) -> list[str]:
    """Return the statements of ``script``: each ends with a semicolon at a line's end.

    Lines that begin with ``--`` are comments.
    """
    lines = [line for line in script.splitlines() if not line.startswith("--")]
    parts = "\n".join([*lines, ""]).split(";\n")
    return [part.strip() for part in parts if part.strip()]


def read_script(name: str, engine: str) -> str:
    """Return the text of ``<engine>/<name>.sql``."""
    folder = files("mailwright.store.migrations") / engine
    return (folder / f"{name}.sql").read_text(encoding="ascii")


def run_script(name: str) -> None:
    """Run the script of the engine that is being migrated."""
    connection = op.get_bind()
    for statement in statements(read_script(name, connection.dialect.name)):
        connection.exec_driver_sql(statement)
