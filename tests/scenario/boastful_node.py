"""A control: a node that tells of staged rows as durable before it has written them."""

import sys

from mailwright.cli.main import main
from mailwright.queue.campaign import chunk_writer

if __name__ == "__main__":
    chunk_writer.write_all = lambda _descriptor, _octets: None  # type: ignore[attr-defined]
    sys.argv.insert(1, "serve")
    main()
