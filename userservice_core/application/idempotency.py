"""Calls that take effect once, however often they are sent."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

import attrs

from userservice_core.errors import IdempotencyKeyReusedError
from userservice_core.ports.idempotency import AnsweredBeforeError, CallId, Claim, UndoneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.ports.clock import Clock
    from userservice_core.ports.idempotency import AnswerStore, JoiningUnitOfWork
    from userservice_core.ports.security import SecretSealer

T = TypeVar("T")

KEPT_FOR: Final = timedelta(hours=24)
"""How long an answer is kept."""

_PURGE_BATCH: Final = 1_000
_TRIES: Final = 6


@attrs.frozen(kw_only=True)
class KeyedCall:
    """
    A call with a key.

    Attributes:
        owner_id: Whose call it is, None where anyone may make it: then the key alone tells calls apart.
        purpose: What is asked for, such as method and path; a key may be used once for each.
        content: All that the answer depends on beside these; the same key with another one is refused.
    """

    owner_id: UUID | None
    purpose: str
    key: str = attrs.field(repr=False)
    content: bytes = attrs.field(repr=False)

    @property
    def id(self) -> CallId:
        """What the row of the call is found by; says nothing of the key to who reads the table."""
        digest = hashlib.sha256(b"\0".join((self.purpose.encode(), self.key.encode()))).digest()
        return CallId(owner_id=self.owner_id or UUID(bytes=digest[:16]), digest=digest)

    @property
    def fingerprint(self) -> bytes:
        """Tells this call's content from any other; it may hold a password, so it is stored sealed only."""
        return hashlib.sha256(self.content).digest()


class IdempotentCalls:
    """
    Answers a call that is repeated with its key as it was answered before.

    The answer is committed with what the call did. It is sealed, together with the fingerprint of what was sent: both
    may hold secrets, and a sealed value can still be read when the key ring has a newer key.
    """

    def __init__(self, *, uow: JoiningUnitOfWork, answers: AnswerStore, sealer: SecretSealer, clock: Clock) -> None:
        self._uow = uow
        self._answers = answers
        self._sealer = sealer
        self._clock = clock

    def once(
        self,
        call: KeyedCall,
        *,
        attempt: Callable[[], T],
        encode: Callable[[T], bytes | None],
        decode: Callable[[bytes], T],
    ) -> T:
        """
        Return what *attempt* returns, or what it returned to this call before.

        If it raises, nothing of what it did remains. What it returns is kept as *encode* writes it; where that is
        None, as for a refusal, what it did remains, and the next call with the key is another attempt. If the database
        undoes what it did through no fault of its own, it is called again, some times.

        Raises:
            IdempotencyKeyReusedError: If the key named a call with another content.
            IdempotencyKeyInUseError: If the same call is under way elsewhere, and for longer than could be waited.
            OutcomeUnknownError: If it is not known whether it took effect; the same call again will tell.
        """
        for _ in range(1, _TRIES):
            try:
                return self._once(call, attempt=attempt, encode=encode, decode=decode)
            except UndoneError:
                continue
        return self._once(call, attempt=attempt, encode=encode, decode=decode)

    def _once(
        self,
        call: KeyedCall,
        *,
        attempt: Callable[[], T],
        encode: Callable[[T], bytes | None],
        decode: Callable[[bytes], T],
    ) -> T:
        found = self._find(call)
        if found is not None:
            return decode(found)
        now = self._clock.now()
        try:
            with self._uow.joined(Claim(call_id=call.id, now=now, expires_at=now + KEPT_FOR)) as transaction:
                result = attempt()
                content = encode(result)
                if content is not None:
                    transaction.keep(self._sealer.seal(call.fingerprint + content, context=_context(call)))
        except AnsweredBeforeError as before:
            return decode(self._opened(call, before.answer))
        if content is None:
            # What refused this attempt may be what a rival with the same key has done meanwhile.
            found = self._find(call)
        return result if found is None else decode(found)

    def purge(self, *, limit: int = _PURGE_BATCH) -> int:
        """Drop at most *limit* answers that are kept no longer, and return how many; fewer than *limit* was all."""
        return self._answers.remove_expired(now=self._clock.now(), limit=limit)

    def _find(self, call: KeyedCall) -> bytes | None:
        sealed = self._answers.find(call.id, now=self._clock.now())
        return None if sealed is None else self._opened(call, sealed)

    def _opened(self, call: KeyedCall, sealed: str) -> bytes:
        plain = self._sealer.unseal(sealed, context=_context(call))
        size = len(call.fingerprint)
        if not hmac.compare_digest(plain[:size], call.fingerprint):
            raise IdempotencyKeyReusedError
        return plain[size:]


def _context(call: KeyedCall) -> str:
    return f"idempotency:{call.id.owner_id}:{call.id.digest.hex()}"
