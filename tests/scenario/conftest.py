"""For the scenarios: folders that peers can reach."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return an empty folder whose parents anyone may pass, removed afterwards.

    Peers run as users of their own. pytest's folders are closed to them, and closed again
    whenever another run begins.
    """
    with tempfile.TemporaryDirectory(
        prefix="mailwright-test-", ignore_cleanup_errors=True
    ) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
