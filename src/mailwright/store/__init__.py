"""Durable state: one writing connection, group commit, units of work.

**Promises.** A unit of work is stored whole or not at all; its owner hears of it only
after the commit was synced to the disk. Units run in the order in which they were
handed in, and the event numbers they draw are in commit order without a gap. An id is
never given out twice, whatever dies in between. A unit that fails harms no other one.
A disk that failed a write or a sync is never trusted again by the same process.

**Never.** It does not know what a row means, does not wait on the event loop, starts
no turn by a timer, lets no second process write.

**Standards.** SQLite's file format and WAL documents (https://sqlite.org/walformat.html);
``fsync`` of POSIX.1-2017, and a directory synced after its entries changed.

**Start reading** at ``statements`` (what rooms hand in), then ``ports`` (what they see),
``writer`` (turns), ``execution`` (steps), ``store`` (how it is opened and closed).
``bodies`` keeps what is too large for a row, ``migrate`` makes the schema, ``days`` the
tables that go with a day, ``health`` says when the disk has no room to accept more.
"""
