"""A node whose look-ups know no bound: the watch on the name server must find it.

Everything else of it is the node as it is.
"""

import runpy

from mailwright.queue.lookups import Lookups
from mailwright.resolver import DnspythonResolver
from watched import LAUNCHER

for bounded, bound in ((Lookups, "workers"), (DnspythonResolver, "concurrency")):
    defaults = bounded.__init__.__kwdefaults__
    assert bound in defaults
    defaults[bound] = 10_000
runpy.run_path(str(LAUNCHER), run_name="__main__")
