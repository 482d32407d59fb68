"""Actors that take one step at a time, in an order that the test decides: no luck, and no sleeping."""

from __future__ import annotations

import contextlib
import random
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_STEP_SECONDS = 20.0


def merges(*lengths: int) -> Iterator[tuple[int, ...]]:
    """Yield every order in which actors with so many steps each can take them, as the numbers of the actors."""
    if not any(lengths):
        yield ()
    for actor, left in enumerate(lengths):
        if left:
            rest = (*lengths[:actor], left - 1, *lengths[actor + 1 :])
            yield from ((actor, *merge) for merge in merges(*rest))


def sampled_merges(*lengths: int, count: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Yield *count* of those orders, drawn evenly."""
    chance = random.Random(seed)  # noqa: S311 - it is to be the same again
    steps = [actor for actor, length in enumerate(lengths) for _ in range(length)]
    for _ in range(count):
        chance.shuffle(steps)
        yield tuple(steps)


class Actor:
    """
    A thread that goes on only when it is told to, up to its next :meth:`pause`.

    One object takes the steps of many acts, one act after the other.
    """

    def __init__(self) -> None:
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._act: Callable[[], object] | None = None
        self._error: BaseException | None = None
        self._is_acting = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def begin(self, act: Callable[[], object]) -> None:
        """Have the next steps be those of *act*."""
        self.finish()
        self._act, self._is_acting = act, True

    def step(self) -> None:
        """Go on up to the next pause, or to the end; nothing where the act has ended."""
        if self._is_acting:
            self._go.release()
            assert self._paused.acquire(timeout=_STEP_SECONDS), "a step waits for another actor"
            if self._error is not None:
                raise self._error

    def finish(self) -> None:
        """Take all steps that are left."""
        while self._is_acting:
            self.step()

    def end(self) -> None:
        """End the thread."""
        self.finish()
        self._act = None
        self._go.release()
        self._thread.join()

    def pause(self) -> None:
        """Wait for one's turn; on any other thread than the actor's, go on at once."""
        if threading.current_thread() is self._thread:
            self._paused.release()
            self._go.acquire()

    def _run(self) -> None:
        while True:
            self._go.acquire()
            if self._act is None:
                return
            try:
                self._act()
            except BaseException as error:  # noqa: BLE001 - it is raised where the step was asked for
                self._error = error
            self._is_acting = False
            self._paused.release()


@contextlib.contextmanager
def actors(count: int) -> Iterator[Sequence[Actor]]:
    """Give actors for the block."""
    all_of_them = [Actor() for _ in range(count)]
    try:
        yield all_of_them
    finally:
        for actor in all_of_them:
            actor.end()
