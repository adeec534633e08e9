"""The settings in force on this node, replaced together when a version changes."""

from mailwright.accounts.directory import Directory
from mailwright.accounts.keyring import KeyRing
from mailwright.accounts.loading import load_directory, load_version
from mailwright.accounts.sealing import Sealer
from mailwright.store.ports import UnitStore


class LiveSettings:
    """Holds the directory and the key ring of one version."""

    __slots__ = ("_directory", "_store", "keys", "sealer")

    def __init__(
        self, store: UnitStore, directory: Directory, keys: KeyRing, sealer: Sealer
    ) -> None:
        self._store = store
        self._directory = directory
        #: Of the node-set key, for what is sealed anew.
        self.sealer = sealer
        #: Opened secrets; the same object for the life of the node.
        self.keys = keys

    @classmethod
    async def load(cls, store: UnitStore, sealer: Sealer) -> "LiveSettings":
        """Return the settings of a database that is set up.

        Raises:
            KeyRingError: it is not set up.
            SealError: it was sealed with another key.
        """
        keys = await KeyRing.load(store, sealer)
        return cls(store, await load_directory(store), keys, sealer)

    def directory(self) -> Directory:
        """Return the directory in force; hand this method to whoever asks often."""
        return self._directory

    async def reload(self) -> bool:
        """Take over the database's version; return whether it was another.

        Costs one indexed read when nothing changed.
        """
        if await load_version(self._store) == self._directory.version:
            return False
        # Keys first: whoever sees the new directory must find its keys.
        await self.keys.reload()
        self._directory = await load_directory(self._store)
        return True
