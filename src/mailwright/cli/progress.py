"""A bar on standard error for work that takes a while; nothing where nobody looks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typing_extensions import override

#: Called with how much is done and, once it is known, of how much.
Report: TypeAlias = Callable[[int, int | None], None]


class _Rate(ProgressColumn):
    """So many a second."""

    @override
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="cyan")


class _Count(ProgressColumn):
    """So many, of how many."""

    @override
    def render(self, task: Task) -> Text:
        done = f"{int(task.completed):,}"
        return Text(done if task.total is None else f"{done} / {int(task.total):,}")


@contextmanager
def bar(text: str, *, total: int | None = None) -> Iterator[Report]:
    """Show a bar while the body runs, if standard error is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        _Count(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        task = progress.add_task(text, total=total)

        def report(done: int, of: int | None) -> None:
            progress.update(task, completed=done, total=of)

        yield report
