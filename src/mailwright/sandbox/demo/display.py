"""What people see of the demo: a table that moves, or plain lines; and the summary."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mailwright.events.types import EventType
from mailwright.sandbox.demo.balance import Balance
from mailwright.sandbox.demo.domains import CAST
from mailwright.sandbox.demo.examiner import Examined
from mailwright.sandbox.demo.ledger import Ledger, Tally
from mailwright.sandbox.demo.rehearsal import Ending, Snapshot

_LINE_EVERY_S: Final = 2.0
_RATE_OVER_S: Final = 3.0
_MAX_WIDTH: Final = 80
_MAX_LISTED: Final = 10
_GIVEN_UP: Final = (EventType.EXPIRED, EventType.SUPPRESSED, EventType.CANCELLED)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a demo.

    Attributes:
        limit_s: the time that it had.
        last: the last snapshot.
        refused: messages that no door took.
        violations: of SMTP by the node, as the receivers saw them.
    """

    ending: Ending
    limit_s: float
    last: Snapshot
    balance: Balance
    examined: Examined
    refused: tuple[str, ...]
    violations: tuple[str, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that must not be, in words."""
        return (
            *self.balance.findings,
            *(f"altered: {each}" for each in self.examined.altered),
            *(f"refused: {each}" for each in self.refused),
            *(f"violation: {each}" for each in self.violations),
        )

    @property
    def is_good(self) -> bool:
        """Whether all is as it should be, to the end."""
        return self.ending is Ending.SETTLED and not self.faults


class Display(Protocol):
    """Shows how far the demo is. Use as a context manager."""

    def show(self, snapshot: Snapshot) -> None:
        """Show it; called several times a second."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def display_on(console: Console) -> Display:
    """Return the table for a terminal, and plain lines for everything else."""
    return LiveTable(console) if console.is_terminal else PlainLines(console)


class LiveTable:
    """A table of the domains that is drawn again and again in its place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._rate = _Rate()

    def show(self, snapshot: Snapshot) -> None:
        """Draw the table anew."""
        rate = self._rate.note(snapshot)
        self._live.update(
            Group(_headline(snapshot, rate), domain_table(snapshot.ledger)),
            refresh=True,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()


class PlainLines:
    """A line every two seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rate = _Rate()
        self._next_s = 0.0

    def show(self, snapshot: Snapshot) -> None:
        """Print a line if it is time."""
        rate = self._rate.note(snapshot)
        if snapshot.seconds < self._next_s:
            return
        self._next_s = snapshot.seconds + _LINE_EVERY_S
        total = _total(snapshot.ledger)
        self._console.print(
            f"{snapshot.seconds:5.1f} s  messages {snapshot.sent}/{snapshot.messages}"
            f"  accepted {total.accepted}  deferred {total.deferred}"
            f"  delivered {total.ended[EventType.DELIVERED]}"
            f"  bounced {total.ended[EventType.BOUNCED]}"
            f"  given up {_given_up(total)}  queued {total.queued}  {rate:.0f}/s",
            highlight=False,
            soft_wrap=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


def domain_table(ledger: Ledger) -> Table:
    """Return the counts by domain, and their sums."""
    table = Table(box=None, padding=(0, 1, 0, 0), show_footer=True, header_style="bold")
    total = _total(ledger)
    table.add_column("domain", "all", style="cyan", no_wrap=True)
    table.add_column("its receivers", style="dim", no_wrap=True)
    for name, count in zip(_COLUMNS, _counts_of(total), strict=True):
        table.add_column(name, str(count), justify="right", footer_style="bold")
    for domain in CAST:
        tally = ledger.tallies.get(domain.label, Tally())
        table.add_row(domain.name, domain.temper, *_cells(tally))
    return table


def print_summary(console: Console, result: Result) -> None:
    """Print the last table and what it means."""
    console.print(domain_table(result.last.ledger))
    console.print()
    for line in _sentences(result):
        console.print(line, highlight=False, width=min(console.width, _MAX_WIDTH))
    faults = result.faults
    for fault in faults[:_MAX_LISTED]:
        console.print(Text(f"  {fault}"), style="red", soft_wrap=True)
    if len(faults) > _MAX_LISTED:
        console.print(f"  … and {len(faults) - _MAX_LISTED} more", style="red")
    console.print(_verdict(result))


_COLUMNS: Final = (
    "mail",
    "defer-\nrals",
    "deli-\nvered",
    "boun-\nced",
    "given\nup",
    "queued",
)


def _counts_of(tally: Tally) -> tuple[int, ...]:
    ended = tally.ended
    return (
        tally.accepted,
        tally.deferred,
        ended[EventType.DELIVERED],
        ended[EventType.BOUNCED],
        _given_up(tally),
        tally.queued,
    )


def _given_up(tally: Tally) -> int:
    return sum(tally.ended[each] for each in _GIVEN_UP)


def _cells(tally: Tally) -> Iterator[Text]:
    styles = ("", "yellow", "green", "red", "magenta", "yellow")
    for count, style in zip(_counts_of(tally), styles, strict=True):
        yield Text(str(count), style) if count else Text("·", "dim")


def _total(ledger: Ledger) -> Tally:
    total = Tally()
    for tally in ledger.tallies.values():
        total.accepted += tally.accepted
        total.deferred += tally.deferred
        total.ended.update(tally.ended)
    return total


def _headline(snapshot: Snapshot, rate: float) -> Text:
    text = Text.assemble(
        ("mailwright demo", "bold"),
        f"  {snapshot.seconds:.1f} s   sent ",
        (f"{snapshot.sent} of {snapshot.messages}", "bold"),
        " messages   ended ",
        (f"{rate:.0f}/s", "bold"),
    )
    text.append("   Ctrl-C ends it", "dim")
    return text


def _sentences(result: Result) -> Iterator[Text]:
    found, examined, last = result.balance, result.examined, result.last
    by_smtp = found.accepted - last.by_http - last.by_campaign
    by_campaign = f", {last.by_campaign} by a campaign" if last.by_campaign else ""
    yield Text(
        f"In {last.seconds:.1f} s the node accepted {last.sent - len(result.refused)} "
        f"messages for {found.accepted} recipients, {by_smtp} by SMTP, {last.by_http} by "
        f"HTTP{by_campaign}: {found.delivered} delivered, {found.bounced} bounced, "
        f"{found.expired} expired, {found.suppressed} suppressed, "
        f"{found.cancelled} cancelled, {found.queued} queued."
    )
    if last.handed is not None:
        rows = last.handed.rows
        yield Text(
            f"The campaign's list had {rows['uploaded']} rows: {rows['accepted']} "
            f"accepted, {rows['duplicate']} twice, {rows['invalid']} invalid, "
            f"{rows['suppressed']} suppressed; an upload that came twice counted once."
        )
    sources = ", ".join(
        f"{count} from {source}" for source, count in sorted(examined.sources.items())
    )
    yield Text(
        f"Receivers took {examined.copies} copies ({sources or 'none'}; "
        f"{examined.by_tls} by TLS). dkimpy verified {found.dkim_verified} of "
        f"{found.delivered}; {examined.compared} were compared with what was sent, "
        f"{len(examined.altered)} differ."
    )
    yield Text(
        "Connections were lost before the dot, and after it without the message being "
        "taken, never after it was taken: every second copy is a duplicate"
        + (
            f", but for {found.explained_copies} that the node had announced."
            if found.explained_copies
            else "."
        ),
        style="dim",
    )


def _verdict(result: Result) -> Text:
    found = result.balance
    counts = f"{found.lost} lost, {found.duplicates} duplicates, "
    counts += f"{found.unverified} unverified"
    if result.faults:
        return Text(f"✗ Something is wrong: {counts}.", style="bold red")
    if result.ending is Ending.INTERRUPTED:
        return Text(
            f"Stopped before the end; so far {counts}, {found.queued} queued.",
            style="bold yellow",
        )
    if result.ending is Ending.TIME_OVER:
        queued = ", ".join(
            f"{tally.queued} for {domain.name}"
            for domain in CAST
            if (tally := result.last.ledger.tallies.get(domain.label)) and tally.queued
        )
        unsent = result.last.messages - result.last.sent
        return Text(
            f"✗ Not done after {result.limit_s:.0f} s. Messages unsent: {unsent}; "
            f"deliveries queued: {found.queued} ({queued or 'none'}).",
            style="bold red",
        )
    return Text(f"✓ Everything is accounted for: {counts}.", style="bold green")


class _Rate:
    """Ends of deliveries per second, over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, snapshot: Snapshot) -> float:
        ended = _total(snapshot.ledger).ended.total()
        self._seen.append((snapshot.seconds, ended))
        while snapshot.seconds - self._seen[0][0] > _RATE_OVER_S:
            self._seen.popleft()
        since, before = self._seen[0]
        return (ended - before) / max(snapshot.seconds - since, 1.0)
