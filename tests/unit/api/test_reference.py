"""The page of routes is what a node says of itself."""

import asyncio
from pathlib import Path

from fakes.api_page import api_page
from fakes.route_cases import UNLISTED

ROOT = Path(__file__).parents[3]


def test_the_page_of_routes_is_current(tmp_path: Path) -> None:
    page = asyncio.run(api_page(tmp_path))
    kept = (ROOT / "docs/reference/routes.md").read_text()
    assert kept == page, "run: make docs"
    assert "### `POST /v1/campaigns`" in page
    assert "### CampaignIn" in page
    assert not any(f" {path}`" in page for path in UNLISTED)


def test_every_link_of_the_page_leads_somewhere() -> None:
    kept = (ROOT / "docs/reference/routes.md").read_text()
    headings = {
        line.removeprefix("### ").lower()
        for line in kept.splitlines()
        if line.startswith("### ")
    }
    links = {part.partition(")")[0] for part in kept.split("](#")[1:]}
    assert links
    assert links <= headings
