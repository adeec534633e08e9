"""A node that purges every few seconds instead of every hour: ``purging_node.py FILE``.

Otherwise it is :mod:`observed_node`: it measures its event loop.
"""

import runpy
from datetime import timedelta
from pathlib import Path

from mailwright.daemon import maintenance

EVERY_S = 15.0

maintenance.HOUR = timedelta(seconds=EVERY_S)  # type: ignore[misc]
maintenance.MINUTE_S = EVERY_S  # type: ignore[misc]
runpy.run_path(str(Path(__file__).with_name("observed_node.py")), run_name="__main__")
