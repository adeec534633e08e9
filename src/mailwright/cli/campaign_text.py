"""A campaign in lines for people. What came from outside is made printable."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mailwright.config.problems import printable

_DELIVERIES: Final = (
    *("delivered", "sending", "queued", "bounced", "expired"),
    *("suppressed", "cancelled"),
)
_REJECTS: Final = ("duplicate", "invalid", "suppressed")
_OPEN: Final = ("queued", "sending")


def heading(campaign: Mapping[str, Any]) -> str:
    """Say which campaign it is and in what state."""
    text = f"{campaign['id']} {campaign['state']}: {campaign['name']}"
    return printable(text)


def campaign_lines(campaign: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a campaign is, what became of its rows, and how it goes on."""
    yield heading(campaign)
    rows = campaign["rows"]
    parts = [f"{rows['accepted']:,} accepted"]
    parts += [f"{rows[name]:,} {name}" for name in _REJECTS if rows[name]]
    told = f": {', '.join(parts)}" if campaign["sealed_at"] else ""
    yield f"  rows        {rows['uploaded']:,} uploaded{told}"
    progress = campaign.get("progress")
    if progress:
        yield f"  sealing     {progress['done']:,} of {progress['total']:,} rows"
    deliveries = campaign["deliveries"]
    shown = [f"{deliveries[name]:,} {name}" for name in _DELIVERIES if deliveries[name]]
    if shown:
        yield f"  deliveries  {', '.join(shown)}"
    categories = campaign.get("categories") or {}
    if categories:
        counted = sorted(categories.items(), key=lambda each: (-each[1], each[0]))
        listed = ", ".join(f"{count:,} {name}" for name, count in counted)
        yield printable(f"  failed for  {listed}")
    if not campaign.get("finished_at"):
        yield from _limits(campaign)
    yield from _pace(campaign)
    if campaign.get("reason"):
        yield printable(f"  because     {_reason(campaign['reason'])}")


def share_done(campaign: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many deliveries ended, of how many."""
    deliveries = campaign["deliveries"]
    total = sum(deliveries.values())
    return total - sum(deliveries[name] for name in _OPEN), total


def _limits(campaign: Mapping[str, Any]) -> Iterator[str]:
    limits = [
        f"{name} {campaign[name]}"
        for name in ("pace", "pool", "send_at", "expires_at")
        if campaign.get(name)
    ]
    if campaign.get("window"):
        limits.append(f"window {json.dumps(campaign['window'])}")
    if limits:
        yield printable(f"  limits      {', '.join(limits)}")


def _pace(campaign: Mapping[str, Any]) -> Iterator[str]:
    rate = campaign.get("rate_per_minute")
    if rate is not None and campaign["state"] == "running":
        eta = campaign.get("eta")
        until = f", done about {eta[:19]}Z" if eta else ""
        yield f"  rate        {rate:,.0f} a minute{until}"
    if campaign.get("finished_at"):
        yield f"  finished    {campaign['finished_at'][:19]}Z"


def _reason(reason: Any) -> str:
    if isinstance(reason, str):
        return reason
    return "; ".join(
        f"{name} {each if isinstance(each, str) else json.dumps(each)}"
        for name, each in dict(reason).items()
    )
