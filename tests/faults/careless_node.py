"""A node that takes every error of its store for success: a control."""

import sys
from typing import Any

from mailwright.cli.main import main
from mailwright.store.statements import Unit
from mailwright.store.writer import Writer

_submit = Writer.submit


def submit(self: Writer, unit: Unit, done: Any) -> Any:
    """Hand ``unit`` in; say that it is stored, whatever becomes of it."""

    def careless(result: Any, error: Any) -> None:
        done([[(1,)] for _ in unit.steps] if error is not None else result, None)

    return _submit(self, unit, careless)


Writer.submit = submit  # type: ignore[method-assign]
sys.argv.insert(1, "serve")
main()
