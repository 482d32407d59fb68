"""That nobody sees the data as it was before their own write, however many copies of it are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.errors import UnavailableError
from userservice_core.ports.consistency import Reading

if TYPE_CHECKING:
    from userservice_core.ports.consistency import PositionMemory, PositionSigner, PositionSource
    from userservice_core.ports.metrics import Metrics


class Consistency:
    """Decides for each request what its reads have to hold, and tells its caller where its writes are."""

    def __init__(
        self,
        *,
        signer: PositionSigner,
        source: PositionSource,
        memory: PositionMemory | None,
        metrics: Metrics,
        settled_seconds: float,
    ) -> None:
        """
        Remember in *memory* where callers wrote.

        Args:
            signer: Makes the tokens.
            source: Knows where the primary is.
            memory: Without one, callers who carry no token read what is their own from the primary.
            metrics: Counts tokens that cannot be verified.
            settled_seconds: After which whatever was written is on every replica that serves.
        """
        self._settled_seconds = settled_seconds
        self._signer = signer
        self._source = source
        self._memory = memory
        self._metrics = metrics

    def begin(self, *, token: str | None, replica_ok: bool) -> Reading:
        """
        Return what a request may read.

        A token that the service did not make, or whose key is gone, is no reason to refuse a read: nobody can say what
        it asks for, so the primary is read, which holds everything.

        Args:
            token: As an earlier answer gave it to the caller, None if they carry none.
            replica_ok: Whether the reads of this kind of request may be served by a replica.
        """
        if not replica_ok:
            return Reading()
        if token is None:
            return Reading(allows_replicas=True)
        position = self._signer.verify(token)
        if position is None:
            self._metrics.count("consistency_token", outcome="invalid")
            return Reading()
        return Reading(allows_replicas=True, at_least=position)

    def recall(self, reading: Reading, *, writer: str, is_own: bool, known_for_seconds: float) -> None:
        """
        Let *reading* follow what *writer* wrote before, if their request has not said so itself.

        What was written to make the access token, or just before, such as the account, was written by nobody who could
        be remembered. So with a new token the caller's own is read from the primary.

        Args:
            reading: Of the request.
            writer: The session or service client that is calling.
            is_own: Whether the request is for what the caller writes, and so would miss it.
            known_for_seconds: How long ago the access token of the caller was made.
        """
        if not reading.allows_replicas or reading.at_least is not None:
            return
        if self._memory is None:
            if is_own:
                reading.pin()
            return
        is_new = known_for_seconds < self._settled_seconds
        try:
            reading.at_least = self._memory.recall(writer)
        except UnavailableError:
            is_new = True
        if reading.at_least is None and is_new and is_own:
            reading.pin()

    def token_after(self, reading: Reading, *, writer: str | None) -> str | None:
        """Return the token of what the request has written, and remember it for *writer*; None if it wrote nothing."""
        position = reading.written
        if position is None:
            return None
        if self._memory is not None and writer is not None:
            self._memory.remember(writer, position)
        return self._signer.sign(position)

    def note_earlier_write(self, reading: Reading) -> None:
        """Have *reading* count as written up to now: it is answered as an earlier request, whose token may be lost."""
        reading.written = self._source.current()
