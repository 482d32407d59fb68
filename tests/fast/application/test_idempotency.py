"""Calls with a key whose transaction the database undoes."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest

from userservice_core.application.idempotency import IdempotentCalls, KeyedCall
from userservice_core.infrastructure.memory import InMemoryAnswerStore, InMemoryStore, InMemoryUnitOfWork
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.ports.idempotency import UndoneError
from userservice_core.testing.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.ports.idempotency import Claim, JoinedTransaction

_CALL: Final = KeyedCall(owner_id=None, purpose="POST /things", key="a key of a call", content=b"content")


class _FailingUnitOfWork:
    """Undoes the first transactions at their commit."""

    def __init__(self, uow: InMemoryUnitOfWork, *, times: int) -> None:
        self._uow = uow
        self._times = times

    @contextlib.contextmanager
    def joined(self, claim: Claim) -> Iterator[JoinedTransaction]:
        with self._uow.joined(claim) as transaction:
            yield transaction
            if self._times:
                self._times -= 1
                raise UndoneError


def _calls(*, undone: int) -> IdempotentCalls:
    store, clock, entropy = InMemoryStore(), FakeClock(), SystemEntropy()
    return IdempotentCalls(
        uow=_FailingUnitOfWork(InMemoryUnitOfWork(store, clock=clock), times=undone),
        answers=InMemoryAnswerStore(store),
        sealer=AesGcmSecretSealer(KeyRing.generate(datetime.now(UTC), entropy), entropy),
        clock=clock,
    )


def _answered(calls: IdempotentCalls, attempts: list[int]) -> bytes:
    def attempt() -> bytes:
        attempts.append(1)
        return b"answer %d" % len(attempts)

    return calls.once(_CALL, attempt=attempt, encode=lambda answer: answer, decode=lambda content: content)


def test_a_call_that_was_undone_is_made_again() -> None:
    """And what it answered then is its answer from then on."""
    calls, attempts = _calls(undone=2), list[int]()

    assert _answered(calls, attempts) == b"answer 3"
    assert _answered(calls, attempts) == b"answer 3"
    assert len(attempts) == 3


def test_a_call_that_is_always_undone_is_given_up() -> None:
    """Nothing is kept of it, so that it can be made again later."""
    calls, attempts = _calls(undone=6), list[int]()

    with pytest.raises(UndoneError):
        _answered(calls, attempts)
    assert len(attempts) == 6
    assert _answered(calls, attempts) == b"answer 7"
