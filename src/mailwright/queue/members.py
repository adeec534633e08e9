"""The lines that ever came by in a lane, with what permits are asked for them."""

from collections.abc import Iterator
from dataclasses import replace

from mailwright.accounts.directory import StreamClass
from mailwright.ids import PoolId
from mailwright.permit import PermitKeys
from mailwright.queue.line import Line
from mailwright.queue.terms import Terms
from mailwright.site import Site


class Members:
    """Members of one lane; they know their way back while it lives."""

    __slots__ = ("_keys", "_pool", "_site", "_terms")

    def __init__(self, site: Site, pool: PoolId, terms: Terms) -> None:
        self._site = site
        self._pool = pool
        self._terms = terms
        self._keys: dict[Line, PermitKeys] = {}

    def __iter__(self) -> Iterator[Line]:
        return iter(self._keys)

    def keys_of(self, line: Line) -> PermitKeys:
        """Return what permits are asked for on behalf of ``line``, as of now."""
        known = self._keys.get(line)
        pace = self._terms.pace_per_hour(line.key.campaign)
        if known is None:
            known = self._keys[line] = self._made(line, pace)
        elif known.pace_per_hour != pace:
            known = self._keys[line] = replace(known, pace_per_hour=pace)
        return known

    def _made(self, line: Line, pace_per_hour: int | None) -> PermitKeys:
        key = line.key
        return PermitKeys(
            self._site.profile.provider,
            self._site.key,
            self._pool,
            line.id,
            key.domain,
            key.tenant,
            key.campaign,
            key.stream,
            key.credential,
            is_bulk=key.stream_class is not StreamClass.TRANSACTIONAL,
            pace_per_hour=pace_per_hour,
        )
