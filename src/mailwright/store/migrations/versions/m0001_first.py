"""The first schema."""

from mailwright.store.migrations.scripts import run_script

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the engine's script."""
    run_script("0001_first")
