"""A node that believes every clock: ``trustful_clock_node.py FILE``; a control."""

import sys

from mailwright.cli.main import main
from mailwright.clock import ClockTrust

ClockTrust.is_suspect = property(lambda _self: False)  # type: ignore[method-assign]
sys.argv.insert(1, "serve")
main()
