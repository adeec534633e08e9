"""Who changes the shared settings, and the row that each change writes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from mailwright.accounts import statements
from mailwright.clock import to_micros
from mailwright.store.statements import Bound

#: What ``settings_log`` keeps of a change: plain values, never a secret or its hash.
Document: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Authorship:
    """Who changes the settings, why and when."""

    author: str
    reason: str
    at: datetime


def version_row(by: Authorship, summary: str, document: Document) -> Bound:
    """Return the statement that writes the next version; ``summary`` is one line."""
    return statements.INSERT_VERSION(
        at=to_micros(by.at),
        author=by.author,
        reason=by.reason,
        summary=summary,
        document=json.dumps(document, ensure_ascii=False, sort_keys=True),
    )
