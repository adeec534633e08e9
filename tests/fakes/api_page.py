"""Prints the reference page of the API: ``PYTHONPATH=tests python -m fakes.api_page``."""

import asyncio
import sys
import tempfile
from pathlib import Path

from fakes.running_node import running_node
from mailwright.api.reference import reference_page


async def api_page(folder: Path) -> str:
    """Return the page that a node with every route would have."""
    async with running_node(folder) as node:
        answer = await node.http.get("/openapi.json")
        return reference_page(answer.raise_for_status().json())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        sys.stdout.write(asyncio.run(api_page(Path(made))))
