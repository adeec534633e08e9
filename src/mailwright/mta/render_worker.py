"""A process that renders: what templates do wrong, they do wrong here.

Started by :mod:`mailwright.mta.renderers`; reads jobs from standard input and writes
messages to standard output until the input ends. Each job has some CPU time, after which the
kernel ends the process, and the process has some memory, beyond which it ends too: the node
sees that it died, refuses that recipient, and starts another.

It opens no file and no socket, and holds no key.
"""

import io
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final, NamedTuple

from mailwright.mta.compose.content import ContentError
from mailwright.mta.compose.lint import preview
from mailwright.mta.compose.reading import parse_content
from mailwright.mta.compose.rendering import CompiledContent, compile_content, render
from mailwright.mta.compose.template import RenderError, TemplateError
from mailwright.mta.render_frames import (
    HEAD,
    Kind,
    made_frame,
    parse_content_frame,
    parse_forget,
    parse_job,
    previewed_frame,
    refused_frame,
)

#: CPU time of one job; it has more for large templates and for attachments to encode.
CPU_S: Final = 0.2
CPU_S_PER_TEMPLATE_MB: Final = 0.6
CPU_S_PER_ATTACHED_MB: Final = 0.05
#: Memory that jobs may take beyond what the process has when it begins …
MEMORY_OCTETS: Final = 192 * 2**20
#: … and that they may take more for each octet of contents that are known.
MEMORY_FACTOR: Final = 8
#: Answers wait until they are asked for, or are together this large.
_TOGETHER_OCTETS: Final = 262_144


class _Known(NamedTuple):
    """A content, what of it is to be done in a job, and its size as JSON."""

    compiled: CompiledContent | RenderError
    cpu_s: float
    octets: int


class Worker:
    """Knows contents, does jobs."""

    def __init__(self, base_octets: int) -> None:
        """``base_octets``: what the process takes without contents."""
        self._base = base_octets
        self._known: dict[int, _Known] = {}

    def learn(self, number: int, body: bytes) -> None:
        """Take a content in; one that cannot be read refuses all its jobs."""
        self._bound(len(body))
        signal.setitimer(signal.ITIMER_PROF, CPU_S + len(body) / 1e6)
        try:
            compiled = compile_content(parse_content(body))
        except (ContentError, TemplateError, MemoryError) as error:
            refusal = RenderError("content", str(error)[:300])
            self._known[number] = _Known(refusal, CPU_S, len(body))
            return
        attached = sum(len(each.content) for each in compiled.content.attachments)
        templates = max(len(body) - attached * 4 // 3, 0)
        cpu_s = (
            CPU_S
            + CPU_S_PER_TEMPLATE_MB * templates / 1e6
            + CPU_S_PER_ATTACHED_MB * attached / 1e6
        )
        self._known[number] = _Known(compiled, cpu_s, len(body))

    def forget(self, number: int) -> None:
        """Let a content go."""
        del self._known[number]
        self._bound(0)

    def answer(self, kind: Kind, payload: bytes) -> bytes:
        """Return the answer to a job."""
        job = parse_job(payload)
        compiled, cpu_s, _ = self._known[job.merge.content]
        if isinstance(compiled, RenderError):
            return refused_frame(compiled)
        # While no job runs no CPU time passes, so nothing stops the clock.
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        try:
            if kind is Kind.PREVIEW:
                shown = preview(compiled, job.merge, dated_at=job.dated_at)
                return previewed_frame(shown.to_json())
            return made_frame(render(compiled, job.merge, dated_at=job.dated_at))
        except RenderError as error:
            return refused_frame(error)
        except MemoryError:
            return refused_frame(RenderError("content", "takes too much memory"))

    def _bound(self, more: int) -> None:
        """Bound memory by what contents there are, and ``more`` octets of one."""
        octets = sum(each.octets for each in self._known.values()) + more
        soft = self._base + MEMORY_OCTETS + octets * MEMORY_FACTOR
        resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))


def run(jobs: io.BufferedReader, answers: int) -> None:
    """Do the jobs that come from ``jobs`` until it ends; ``answers`` is a descriptor."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    worker = Worker(pages * resource.getpagesize())
    waiting: list[bytes] = []
    while head := jobs.read(HEAD.size):
        code, length = HEAD.unpack(head)
        payload = jobs.read(length)
        kind = Kind(code)
        if kind is Kind.CONTENT:
            worker.learn(*parse_content_frame(payload))
        elif kind is Kind.FORGET:
            worker.forget(parse_forget(payload))
        elif kind is not Kind.ANSWER:
            waiting.append(worker.answer(kind, payload))
        if kind is Kind.ANSWER or sum(map(len, waiting)) > _TOGETHER_OCTETS:
            _write(answers, b"".join(waiting))
            waiting.clear()


def _write(descriptor: int, octets: bytes) -> None:
    view = memoryview(octets)
    while view:
        view = view[os.write(descriptor, view) :]


def main() -> None:
    """Run until standard input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with open(sys.stdin.fileno(), "rb", closefd=False) as jobs:
        run(jobs, sys.stdout.fileno())


if __name__ == "__main__":
    main()
