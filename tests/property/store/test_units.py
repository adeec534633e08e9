"""Any mix of units leaves what the good ones alone would have left, in their order.

The model runs the units one by one on a dictionary; the store may share turns between
them as it likes. Event numbers are those of the good ones, without a gap.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mailwright.store.statements import SEQ, Bound, Step, Unit, Urgency
from unit.store.rig import ADD, CHANGE, LOG, TAKE, Rig, drive, running

NAMES = ["a", "b", "c"]


@dataclass(frozen=True)
class Act:
    """``add`` fails when the name is there; ``change`` logs what it met.

    ``note`` is insertions alone, which wait for each other: its failure shows late.
    """

    verb: str
    name: str
    value: int

    def step(self) -> Step:
        match self.verb:
            case "add":
                then: tuple[Bound, ...] = (
                    LOG(seq=SEQ, name=f"added {self.name}"),
                    ADD(name=self.name, value=self.value),
                )
                return Step(then=then)
            case "note":
                return Step(
                    then=(
                        ADD(name=self.name, value=self.value),
                        LOG(seq=SEQ, name=f"noted {self.name}"),
                    )
                )
            case "take":
                return Step(then=(TAKE(which=self.name),))
            case _:
                return Step(
                    guard=CHANGE(which=self.name, to=self.value),
                    then=(LOG(seq=SEQ, name=f"changed {self.name}"),),
                    otherwise=(LOG(seq=SEQ, name=f"missed {self.name}"),),
                )


class ModelConflictError(Exception):
    pass


@dataclass
class Model:
    notes: dict[str, int]
    log: list[str]

    def run(self, acts: list[Act]) -> bool:
        notes, log = dict(self.notes), list(self.log)
        for act in acts:
            match act.verb:
                case "add" | "note" if act.name in notes:
                    return False
                case "note":
                    notes[act.name] = act.value
                    log.append(f"noted {act.name}")
                case "add":
                    notes[act.name] = act.value
                    log.append(f"added {act.name}")
                case "take":
                    notes.pop(act.name, None)
                case _ if act.name in notes:
                    notes[act.name] = act.value
                    log.append(f"changed {act.name}")
                case _:
                    log.append(f"missed {act.name}")
        self.notes, self.log = notes, log
        return True


acts = st.builds(
    Act,
    st.sampled_from(["add", "note", "note", "take", "change"]),
    st.sampled_from(NAMES),
    st.integers(0, 9),
)
units = st.lists(st.lists(acts, min_size=1, max_size=4), max_size=25)


@settings(max_examples=60, deadline=None)
@given(units=units, bulk_from=st.integers(0, 25), turn_s=st.sampled_from([0.0, 5.0]))
def test_units_leave_what_the_good_ones_alone_would_have_left(
    units: list[list[Act]], bulk_from: int, turn_s: float
) -> None:
    async def main(path: Path) -> None:
        async with running(Rig(path, turn_s=turn_s)) as rig:
            await rig.hold()
            answers = [
                rig.submit(
                    Unit(
                        tuple(act.step() for act in unit),
                        # Bulk ones come last anyway, so that the order is known.
                        Urgency.BULK if i >= bulk_from else Urgency.INTERACTIVE,
                    )
                )
                for i, unit in enumerate(units)
            ]
            rig.gate.opened.set()
            for answer in answers:
                await answer.heard.wait()
            model = Model({}, [])
            wanted = [model.run(unit) for unit in units]
            assert [answer.error is None for answer in answers] == wanted
            assert dict(rig.rows("SELECT name, value FROM notes")) == model.notes
            assert rig.rows("SELECT seq, name FROM log ORDER BY seq") == list(
                enumerate(model.log, 1)
            )
            assert rig.rows("SELECT seq FROM nodes") == [(len(model.log),)]
            assert rig.writer.statistics().failed_units == wanted.count(False)

    with tempfile.TemporaryDirectory() as folder:
        drive(main(Path(folder) / "db"))
