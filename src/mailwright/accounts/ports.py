"""What this room needs of the store beyond units and reads."""

from typing import Protocol

from mailwright.ids import IdBlock
from mailwright.store.ports import UnitStore


class SettingsStore(UnitStore, Protocol):
    """A store that also hands out ids."""

    #: The node's reserved ids.
    ids: IdBlock
