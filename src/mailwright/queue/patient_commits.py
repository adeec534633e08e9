"""Commits for clients that wait: each as long as its client would, and no longer."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from mailwright.queue.patience import Patience, WaitOverError
from mailwright.reply import Phase, local_reply
from mailwright.store.ports import (
    StoreConflictError,
    StoreError,
    StoreFullError,
    UnitStore,
)
from mailwright.store.statements import Unit, UnitResult
from mailwright.submission import NotAcceptedError, PatienceOverError

#: The disk is full.
FULL: Final = local_reply(452, "4.3.1", "insufficient system storage", Phase.DOT)
#: The store refuses for a reason of its own.
TROUBLE: Final = local_reply(451, "4.3.0", "cannot store the message now", Phase.DOT)
_BUSY: Final = local_reply(451, "4.3.2", "too busy, try again later", Phase.DOT)


class PatientCommits:
    """Hands units in and turns what becomes of them into what clients are told."""

    def __init__(self, store: UnitStore, patience: Callable[[], timedelta]) -> None:
        """``patience``: how long a client waits from now on."""
        self._store = store
        self._limit = patience
        self._patience = Patience()

    async def commit(
        self, unit: Unit, on_end: Callable[[UnitResult | None], None] | None = None
    ) -> UnitResult:
        """Hand in ``unit`` and wait for its commit as long as a client would.

        ``on_end`` gets the result, or ``None`` when nothing is stored; it is called even
        if the caller has gone by then.

        Raises:
            NotAcceptedError: nothing is stored.
            PatienceOverError: it cannot be known in time; close without a reply.
            StoreConflictError: a guard's key is already there; nothing is stored.
        """
        ended: asyncio.Future[UnitResult] = asyncio.get_running_loop().create_future()

        def done(result: UnitResult | None, error: StoreError | None) -> None:
            if on_end is not None:
                on_end(result)
            if ended.done():
                return
            if result is not None:
                ended.set_result(result)
            else:
                ended.set_exception(error or StoreError("no result"))

        pending = self._store.submit(unit, done)
        self._patience.add(ended, self._limit().total_seconds())
        try:
            return await ended
        except WaitOverError:
            if not pending.withdraw():
                # It has begun: whether it is stored will be known too late to say.
                raise PatienceOverError from None
            if on_end is not None:
                on_end(None)
            raise NotAcceptedError(_BUSY) from None
        except StoreConflictError:
            raise
        except StoreFullError as error:
            raise NotAcceptedError(FULL) from error
        except StoreError as error:
            raise NotAcceptedError(TROUBLE) from error
        finally:
            self._patience.remove(ended)
