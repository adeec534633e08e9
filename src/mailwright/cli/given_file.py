"""Files that commands are given: read more than once, from a pipe or packed as well."""

import gzip
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from mailwright.cli.failures import CommandError

#: What stands for standard input.
_STDIN: Final = Path("-")
_GZIP: Final = b"\x1f\x8b"


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Give the content of ``path``, unpacked if it is gzip, at its beginning.

    ``-`` is standard input, kept in a temporary file as long as it is read.

    Raises:
        CommandError: it cannot be read.
    """
    with ExitStack() as stack:
        try:
            if path == _STDIN:
                file = cast("BinaryIO", stack.enter_context(tempfile.TemporaryFile()))
                shutil.copyfileobj(sys.stdin.buffer, file)
                file.seek(0)
            else:
                file = stack.enter_context(path.open("rb"))
            is_packed = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            if is_packed:
                unpacked = stack.enter_context(gzip.open(file))
                unpacked.peek(1)  # is it really?
                file = cast("BinaryIO", unpacked)
        except (OSError, EOFError) as error:
            raise CommandError(f"{path}: {_reason(error)}") from error
        yield file


def text_of(path: Path) -> str:
    """Return a text file's content.

    Raises:
        CommandError: it cannot be read, or is not UTF-8.
    """
    with opened(path) as file:
        try:
            return file.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise CommandError(f"{path}: is not UTF-8") from None
        except OSError as error:
            raise CommandError(f"{path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
