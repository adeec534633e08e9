"""Deliveries against a small model, with crashes at every step, and what it would miss.

Each control breaks one thing that the queue's statements promise; the same machine must
find it with the same effort.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import ColumnElement, bindparam, delete, false

from mailwright.queue import acceptance, recovery, settle
from mailwright.queue.delivery import State
from mailwright.queue.tables import deliveries
from mailwright.store.statements import Query
from property.queue.delivery_machine import DeliveryMachine

EFFORT = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,  # the same walks for everyone
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
#: A control only has to be found, not understood.
NO_SHRINKING = settings(EFFORT, phases=[Phase.generate], print_blob=False)

# Room to shrink what was found.
pytestmark = pytest.mark.slow


def test_deliveries_do_what_the_model_says_whatever_crashes() -> None:
    run_state_machine_as_test(DeliveryMachine, settings=EFFORT)


class SettlesWhatIsNotItsOwn(DeliveryMachine):
    def mutate(self, patch: pytest.MonkeyPatch) -> None:
        finish = (
            delete(deliveries)
            .where(deliveries.c.id == bindparam("delivery_id"))
            .where(deliveries.c.state == int(State.SENDING))
            .returning(deliveries.c.id)
        )
        patch.setattr(settle, "FINISH", Query("finish", finish))


class CountsWhatWasNotOffered(DeliveryMachine):
    def mutate(self, patch: pytest.MonkeyPatch) -> None:
        requeue = settle.REQUEUE
        patch.setattr(
            settle, "REQUEUE", lambda **row: requeue(**(row | {"uncounted": 0}))
        )


class ForgetsToCountALine(DeliveryMachine):
    def mutate(self, patch: pytest.MonkeyPatch) -> None:
        add = acceptance.ADD_TO_LINE
        patch.setattr(
            acceptance, "ADD_TO_LINE", lambda **row: add(**(row | {"count": 0}))
        )


class ForgetsToDiscountALine(DeliveryMachine):
    def mutate(self, patch: pytest.MonkeyPatch) -> None:
        take = settle.TAKE_FROM_LINE
        patch.setattr(settle, "TAKE_FROM_LINE", lambda line_id: take(line_id=-line_id))


class ForgetsTheSums(DeliveryMachine):
    def mutate(self, patch: pytest.MonkeyPatch) -> None:
        ended = settle.recipient_ended
        patch.setattr(settle, "recipient_ended", lambda *about: ended(*about)[:1])


class ForgetsARecipient(DeliveryMachine):
    def mutate(self, patch: pytest.MonkeyPatch) -> None:
        ended = settle.recipient_ended
        patch.setattr(settle, "recipient_ended", lambda *about: ended(*about)[1:])


class RecoversInSilence(DeliveryMachine):
    def mutate(self, patch: pytest.MonkeyPatch) -> None:
        nothing = recovery.LINE_DUE(line_id=-1, due=0)
        patch.setattr(recovery, "write_event", lambda *_: nothing)


class RecoversNothing(DeliveryMachine):
    def mutate(self, patch: pytest.MonkeyPatch) -> None:
        find = recovery.SENDING_OF_DEAD_EPOCHS
        patch.setattr(
            recovery,
            "SENDING_OF_DEAD_EPOCHS",
            lambda my_epoch, slice: find(my_epoch=0, slice=slice),  # noqa: A006
        )


class KeepsHalfAcceptedMail(DeliveryMachine):
    def mutate(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(
            recovery,
            "DISCARD_DELIVERIES",
            lambda message_id: recovery.LINE_DUE(line_id=-1, due=0),
        )


class MailsTheSuppressed(DeliveryMachine):
    class suppressions:  # noqa: N801
        @staticmethod
        def is_suppressed(*_: object) -> ColumnElement[bool]:
            return false()


class CommitsByHalves(DeliveryMachine):
    is_atomic = False


@pytest.mark.parametrize(
    "control",
    [
        SettlesWhatIsNotItsOwn,
        CountsWhatWasNotOffered,
        ForgetsToCountALine,
        ForgetsToDiscountALine,
        ForgetsTheSums,
        ForgetsARecipient,
        RecoversInSilence,
        RecoversNothing,
        KeepsHalfAcceptedMail,
        MailsTheSuppressed,
        CommitsByHalves,
    ],
)
def test_the_machine_finds(control: type[DeliveryMachine]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(control, settings=NO_SHRINKING)
