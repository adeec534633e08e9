"""Rendering in processes: bombs end, their recipients are refused, nobody else notices."""

import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.campaign_contents import (
    DATED,
    attachment,
    compiled,
    content_json,
    merge_of,
)
from mailwright.mta import renderers
from mailwright.mta.compose.composing import Composed
from mailwright.mta.compose.lint import preview
from mailwright.mta.compose.rendering import render
from mailwright.mta.compose.template import RenderError
from mailwright.mta.renderers import NoRendererError, Order, Rendered, Renderers

#: Each makes much of little: texts that double, long loops, lists of lists, chains.
BOMBS = {
    "doubling": "{% set n = namespace(x='aaaaaaaaaa') %}{% for i in range(60) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x|length }}",
    "billion laughs": "{% set a = 'ha' * 1000 %}"
    + "".join(
        f"{{% set {new} = {old} ~ {old} ~ {old} ~ {old} ~ {old} ~ {old} %}}"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "{{ i|length }}",
    "repetition": "{{ ('a' * 60000) * 60000 }}",
    "nested loops": "{% for i in range(100000) %}{% for j in range(100000) %}x"
    "{% endfor %}{% endfor %}",
    "long output": "{% set a = 'a' * 60000 %}{% for i in range(100000) %}{{ a }}"
    "{% endfor %}",
    "captured output": "{% set a = 'a' * 60000 %}{% set b %}{% for i in range(100000) %}"
    "{{ a }}{% endfor %}{% endset %}{{ b|length }}",
    "list repetition": "{{ [1, 2, 3] * 300000000 }}",
    "indentation": "{{ 'x'|indent(4000000000)|length }}",
    "replacing": "{{ 'a'|replace('a', 'a' * 10000)|replace('a', 'a' * 10000)"
    "|replace('a', 'a' * 10000)|length }}",
    "joining": "{{ range(100000)|map('string')|join('a' * 60000)|length }}",
    "sorting": "{% for i in range(100000) %}{{ range(100000)|sort|length }}{% endfor %}",
    "chain of filters": "{{ ('%' * 60000)" + "|replace('%', '%%')" * 30 + "|length }}",
    "macros": "{% macro m(a) %}{{ m(a ~ a) }}{{ m(a ~ a) }}{% endmacro %}{{ m('aaaa') }}",
    "recursive loop": "{% for i in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "huge range": "{{ range(100000000000)|length }}",
    "powers": "{{ 2 ** 100000000 }}",
}
#: Those that fuel cannot end.
UNFUELLED = ("doubling", "sorting", "captured output")
#: CPU time of a bomb and of starting a process anew, on a slow machine.
SHORT_S = 4.0


@pytest.fixture
def pool() -> Iterator[Renderers]:
    made = Renderers(1)
    yield made
    made.close()


def order(body: bytes, content: int = 1, **fields: object) -> Order:
    merge = replace(merge_of({"name": "Ann", **fields}), content=content)
    return Order(body, merge, DATED)


def child_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def kinds(made: Sequence[Rendered]) -> list[bool]:
    """Return for each whether it is a message."""
    return [isinstance(each, Composed) for each in made]


def test_a_process_gives_the_octets_that_the_function_gives(pool: Renderers) -> None:
    changes = {"html": "<p>{{ name }} ü</p>", "attachments": [attachment()]}
    [made] = pool.render([order(content_json(**changes))])
    expected = render(compiled(**changes), merge_of(), dated_at=DATED)
    assert made == expected


def test_a_large_batch_of_large_messages_comes_back_in_order(pool: Renderers) -> None:
    body = content_json(text="{{ name }} " + "x" * 50_000)
    orders = [order(body, name=f"n{n}", more="y" * 15_000) for n in range(40)]
    made = pool.render(orders)
    for number, each in enumerate(made):
        assert isinstance(each, Composed)
        assert f"n{number} ".encode() in each.body


def test_contents_are_forgotten_and_learnt_again(
    pool: Renderers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderers, "KNOWN_OCTETS", 400)
    bodies = {number: content_json(subject=f"s{number}") for number in range(1, 8)}
    for number in [*bodies, *bodies, 1, 1]:
        [made] = pool.render([order(bodies[number], number)])
        assert isinstance(made, Composed)
        assert f"Subject: s{number}\r\n".encode() in made.header


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_ends_soon_and_its_neighbours_are_rendered(
    pool: Renderers, bomb: str
) -> None:
    body = content_json(text="{% if bomb %}" + BOMBS[bomb] + "{% endif %}ok")
    pool.render([order(body)])  # so that starting the first process is not counted
    before = child_cpu_s()
    made = pool.render([order(body), order(body, bomb=True), order(body), order(body)])
    pool.close()
    assert kinds(made) == [True, False, True, True]
    assert child_cpu_s() - before < SHORT_S


@pytest.mark.parametrize("bomb", UNFUELLED)
def test_without_bounds_the_same_bombs_go_on(bomb: str) -> None:
    """The control: two seconds of CPU time, or 600 MB, end what would go on."""
    source = (
        "import minijinja, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (2, 3))\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (600_000_000, 600_000_000))\n"
        "environment = minijinja.Environment(fuel=100_000)\n"
        "environment.render_str(sys.argv[1], 'text')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", source, BOMBS[bomb]],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert -ended.returncode in (signal.SIGXCPU, signal.SIGKILL, signal.SIGABRT)


def test_the_kernel_bounds_the_memory_of_a_process(pool: Renderers) -> None:
    pool.render([order(content_json())])
    [worker] = pool._idle
    folder = Path(f"/proc/{worker._process.pid}")
    [line] = re.findall(r"Max address space +(\d+)", (folder / "limits").read_text())
    taken = int((folder / "statm").read_text().split()[0]) * resource.getpagesize()
    assert int(line) - taken < 300_000_000


def test_a_content_that_only_kills_gets_no_more_processes(
    pool: Renderers, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = content_json(text=BOMBS["doubling"])
    deaths = []
    died = Renderers._died

    def counted(self: Renderers, content: int) -> RenderError:
        deaths.append(content)
        return died(self, content)

    monkeypatch.setattr(Renderers, "_died", counted)
    for _ in range(10):
        [made] = pool.render([order(body, 5)])
        assert isinstance(made, RenderError)
    assert deaths == [5] * 3
    assert kinds(pool.render([order(content_json(), 6)])) == [True]


def test_who_is_killed_from_outside_costs_nobody_their_mail(pool: Renderers) -> None:
    assert kinds(pool.render([order(content_json())])) == [True]
    [worker] = pool._idle
    os.kill(worker._process.pid, signal.SIGKILL)
    assert kinds(pool.render([order(content_json())] * 3)) == [True] * 3


def test_a_process_that_does_not_answer_is_replaced(
    pool: Renderers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.render([order(content_json())])
    monkeypatch.setattr(renderers, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(renderers, "_END_S", 0.1)
    [worker] = pool._idle
    os.kill(worker._process.pid, signal.SIGSTOP)
    done: list[Rendered] = []
    original = renderers._Worker

    def patient() -> renderers._Worker:
        monkeypatch.setattr(renderers, "_PATIENCE_S", 60.0)
        return original()

    monkeypatch.setattr(renderers, "_Worker", patient)
    done += pool.render([order(content_json())])
    assert kinds(done) == [True]


def test_while_one_bombs_another_renders() -> None:
    pool = Renderers(2)
    try:
        both = [order(content_json(), 1), order(content_json(text=BOMBS["sorting"]), 2)]
        made: dict[int, list[Rendered]] = {}

        def run(place: int) -> None:
            made[place] = pool.render([both[place]] * 2)

        threads = [threading.Thread(target=run, args=(place,)) for place in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert kinds(made[0]) == [True, True]
        assert kinds(made[1]) == [False, False]
    finally:
        pool.close()


def test_a_preview_comes_back_whole(pool: Renderers) -> None:
    changes = {"html": "<a href='/x'>y</a>{{ gone }}", "headers": {"X-A": "{{ name }}"}}
    shown = pool.preview(order(content_json(**changes)))
    assert shown == preview(compiled(**changes), merge_of(), dated_at=DATED)


def test_a_preview_of_a_bomb_is_refused(pool: Renderers) -> None:
    with pytest.raises(RenderError, match="too much time or memory"):
        pool.preview(order(content_json(text=BOMBS["doubling"])))
    assert pool.preview(order(content_json())).octets


def test_a_content_that_cannot_be_read_refuses_its_messages(pool: Renderers) -> None:
    [made] = pool.render([order(b"{}")])
    assert isinstance(made, RenderError)
    assert made.field == "content"


def test_closed_ones_render_nothing_and_leave_no_process(pool: Renderers) -> None:
    pool.render([order(content_json())])
    [worker] = pool._idle
    pool.close()
    assert worker._process.returncode is not None
    with pytest.raises(NoRendererError):
        pool.render([order(content_json())])


def test_where_no_process_starts_mail_waits(
    pool: Renderers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(NoRendererError):
        pool.render([order(content_json())])
    monkeypatch.undo()
    assert kinds(pool.render([order(content_json())])) == [True]
