from pathlib import Path

import pytest

from mailwright.store.health import Reserve, Room, lacking, read_room

RESERVE = Reserve(octets=1_000, share=0.05, inodes=10)


@pytest.mark.parametrize(
    ("room", "word"),
    [
        (Room(1_000, 20_000, 10), None),
        (Room(999, 2_000, 10), "octets"),  # by the absolute reserve
        (Room(1_000, 20_020, 10), "octets"),  # by the share
        (Room(1_000, 20_000, 9), "inodes"),
        (Room(1_000, 20_000, None), None),  # a file system without a limit of files
        (Room(0, 0, 0), "octets"),
    ],
)
def test_what_is_lacking_is_named(room: Room, word: str | None) -> None:
    answer = lacking(room, RESERVE)
    assert (answer is None) == (word is None)
    assert word is None or word in str(answer)


def test_the_room_of_a_real_folder_is_read(tmp_path: Path) -> None:
    room = read_room(tmp_path)
    assert 0 < room.free_octets <= room.total_octets
