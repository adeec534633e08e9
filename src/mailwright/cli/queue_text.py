"""The queue in lines for people. Everything that came from outside is made printable."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mailwright.config.problems import printable


def extent_text(name: str, extent: Mapping[str, Any]) -> str:
    """Say what the operation ``name`` is for, or would be."""
    would = "would be for" if extent["dry_run"] else "is for"
    text = (
        f"{name} {would} {extent['deliveries']} deliveries in {extent['lines']} lines"
    )
    if extent["under_way"]:
        text += f"; {extent['under_way']} more are under way and left alone"
    if extent["unresolved"]:
        text += f"; {extent['unresolved']} domains have no known provider"
    if extent["hold"]:
        text += f" (hold {extent['hold']})"
    return text


def hold_text(hold: Mapping[str, Any]) -> str:
    """Say what a hold stops, until when, who made it and why."""
    scope = " ".join(f"{name}={value}" for name, value in hold["selection"].items())
    what = "cancels" if hold["cancels"] else "holds"
    until = f" until {hold['ends_at']}" if hold["ends_at"] else ""
    said = printable(f"{scope}{until}, by {hold['author']}: {hold['reason']}")
    return f"{hold['id']} {what} {said}"


def line_text(line: Mapping[str, Any]) -> str:
    """Say what a line is, what waits in it, and what stops it."""
    text = (
        f"line {line['id']} {line['tenant']}/{line['stream']} to {line['domain']} "
        f"from {line['pool']}: {line['deliveries']} wait, {line['under_way']} under way"
    )
    return printable(text + block_text(line["blocked"]))


def delivery_texts(delivery: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a delivery does that is not final, and the line it is in."""
    yield (
        f"{delivery['id']} {printable(delivery['recipient'])}: {delivery['state']}, "
        f"{delivery['attempts']} attempts, due {delivery['due_at']}"
    )
    if delivery["last_reply"]:
        yield f"  last reply: {printable(delivery['last_reply'])}"
    yield f"  {line_text(delivery['line'])}"


def block_text(block: Mapping[str, Any] | None) -> str:
    """Say what stops something, after a semicolon; nothing where nothing does."""
    if block is None:
        return ""
    until = f" (until {block['until']})" if block["until"] else ""
    return f"; {block['by']}: {block['reason']}{until}"


def table_lines(
    columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield a table, names to the left and numbers to the right."""
    cells = [
        columns,
        *([printable(str(row[name])) for name in columns] for row in rows),
    ]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    for row in cells:
        name, *numbers = (
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join((name, *numbers))
