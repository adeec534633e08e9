"""Where the operator's routes are: for commands, which import nothing that serves them."""

from typing import Final

STOP_ALL: Final = "/v1/stop-all"
RELEASE_ALL: Final = "/v1/release-all"
QUEUE: Final = "/v1/queue"
DELIVERIES: Final = f"{QUEUE}/deliveries"
LINES: Final = f"{QUEUE}/lines"
HOLDS: Final = "/v1/holds"
LANES: Final = "/v1/lanes"
EXPLAIN: Final = "/v1/explain"
SUPPRESSIONS: Final = "/v1/suppressions"
CLOCK: Final = "/v1/clock"
SETTLE: Final = f"{CLOCK}/settle"
