"""What the MTA needs of other rooms; ``daemon/wiring.py`` plugs them in."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from mailwright.accounts.directory import Route
from mailwright.attempt import Attempt, Parcel
from mailwright.resolver import MxRecord
from mailwright.site import Profile
from mailwright.store.statements import Bound
from mailwright.submission import Accepted, Submission

#: Makes the statements that commit with a message, once its ids are given. Called on
#: the event loop, once, before the unit is handed to the store; never blocks.
Guards: TypeAlias = Callable[[Accepted], Sequence[Bound]]


class Intake(Protocol):
    """Makes submissions durable."""

    async def accept(
        self, submission: Submission, guards: Guards | None = None
    ) -> Accepted:
        """Return when the message and all its deliveries are committed and synced.

        ``guards`` commit with the message (the row of a repeatable create: it keeps the
        answer, which holds ids, so it is made from what will be returned). Shielded:
        cancelling the caller (a client that disconnects) neither undoes nor interrupts
        a commit that has begun.

        Raises:
            NotAcceptedError: nothing is stored (disk full, overload, patience over).
            PatienceOverError: it cannot be known in time; close without a reply.
            StoreConflictError: a guard's key is already there; nothing is stored.
        """
        ...


class Feed(Protocol):
    """Where a connection gets deliveries and reports what became of them."""

    async def take(self, want: int) -> Sequence[Parcel]:
        """Return up to ``want`` claimed deliveries, waiting a while for the first.

        Empty: nothing came within the idle time, or the node is stopping; close.
        """
        ...

    def settle(self, attempt: Attempt) -> None:
        """Report the end of an attempt. Never blocks; every taken parcel gets one."""
        ...


class Profiles(Protocol):
    """Knows how providers want to be treated."""

    def place(self, domain: str, records: Sequence[MxRecord]) -> tuple[str, Profile]:
        """Return key and profile of the site of ``domain`` with these MX hosts."""
        ...

    def profile_of_host(self, host: str) -> Profile:
        """Return the profile for mail that someone routes to ``host``."""
        ...

    def default_profile(self) -> Profile:
        """Return the profile for everyone else."""
        ...


class Routes(Protocol):
    """Knows the next hops that someone set."""

    def route_for(self, domain: str) -> Route | None:
        """Return the route of ``domain``, or ``None`` where its MX decides."""
        ...
