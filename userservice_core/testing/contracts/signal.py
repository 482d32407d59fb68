"""What :class:`~userservice_core.ports.revocations.Signal` promises."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.samples import sample_event_id

if TYPE_CHECKING:
    from userservice_core.ports.revocations import Signal


class SignalContract:
    """For :class:`~userservice_core.ports.revocations.Signal`."""

    @pytest.fixture
    def signal(self) -> Signal:
        """What a process has that wakes others; it is woken by itself too."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def channel(self) -> str:
        """A channel that nobody else uses."""
        return f"channel_{sample_event_id().hex}"

    def _wake(self, signal: Signal, channel: str, woken: threading.Event) -> None:
        """Notify until *woken* is set: a signal may be lost, as before a listener is heard."""
        woken.clear()

        def try_once() -> bool:
            signal.notify(channel)
            return woken.wait(0.05)

        eventually(try_once)

    def test_a_listener_is_woken_from_another_thread(self, signal: Signal, channel: str) -> None:
        """Soon, and each time anew."""
        woken = threading.Event()
        threads: set[int] = set()

        def callback() -> None:
            threads.add(threading.get_ident())
            woken.set()

        end = signal.listen(channel, callback)

        self._wake(signal, channel, woken)
        self._wake(signal, channel, woken)

        assert threading.get_ident() not in threads
        end()

    def test_all_listeners_are_woken(self, signal: Signal, channel: str) -> None:
        """Whatever goes wrong in one of them."""

        def fail() -> None:
            raise ZeroDivisionError

        first, second = threading.Event(), threading.Event()
        ends = [signal.listen(channel, callback) for callback in (first.set, fail, second.set)]

        self._wake(signal, channel, second)

        assert first.wait(1)
        for end in ends:
            end()

    def test_listeners_of_other_channels_sleep_on(self, signal: Signal, channel: str) -> None:
        """A channel is its own."""
        woken, other_woken = threading.Event(), threading.Event()
        ends = [signal.listen(channel, woken.set), signal.listen(f"{channel}_other", other_woken.set)]

        self._wake(signal, f"{channel}_other", other_woken)
        woken.clear()  # a listener may be woken once when it begins to be heard
        self._wake(signal, f"{channel}_other", other_woken)

        assert not woken.is_set()
        for end in ends:
            end()

    def test_a_subscription_can_be_ended(self, signal: Signal, channel: str) -> None:
        """Once or twice; others go on."""
        ended, woken = threading.Event(), threading.Event()
        end = signal.listen(channel, ended.set)
        end_other = signal.listen(channel, woken.set)
        self._wake(signal, channel, woken)

        end()
        end()
        self._wake(signal, channel, woken)
        ended.clear()  # a call that was under way may have come after the end
        self._wake(signal, channel, woken)

        assert not ended.is_set()
        end_other()

    def test_a_channel_without_listeners_may_be_woken(self, signal: Signal, channel: str) -> None:
        """Nobody is there, and nothing is raised."""
        for _ in range(100):
            signal.notify(channel)

    def test_calls_close_together_may_count_as_one(self, signal: Signal, channel: str) -> None:
        """There are never more calls than notifications, and the last one is not lost among them."""
        calls = threading.Semaphore(0)
        woken = threading.Event()

        def callback() -> None:
            calls.release()
            woken.set()

        end = signal.listen(channel, callback)
        self._wake(signal, channel, woken)
        eventually(lambda: not calls.acquire(timeout=0.2))

        for _ in range(50):
            signal.notify(channel)

        count = 0
        while calls.acquire(timeout=0.2):
            count += 1
        assert 1 <= count <= 50
        end()
