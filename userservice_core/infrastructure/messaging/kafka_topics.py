"""The topics that events go to: what is wanted of each, and what differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT_PARTITIONS: Final = 24
"""Of a topic that is created here; never raised afterwards, since that would move keys to other partitions."""


@attrs.frozen(kw_only=True)
class TopicSpec:
    """
    What is wanted of a topic.

    Attributes:
        replication_factor: How many brokers hold each partition; as the brokers' default says if not given.
        settings: As the brokers call them, such as `retention.ms`; what is not named is left to their defaults.
    """

    name: str
    partitions: int = DEFAULT_PARTITIONS
    replication_factor: int | None = None
    settings: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TopicState:
    """What a topic is at present; of its settings all that are in force, wherever they come from."""

    partitions: int
    replication_factor: int
    settings: Mapping[str, str]


class TopicAdmin(Protocol):
    """Knows and makes topics, through one client or the other."""

    def states(self, names: Sequence[str]) -> Mapping[str, TopicState]:
        """
        Return what those of *names* are that exist.

        Raises:
            BusUnavailableError: If no broker says so.
        """
        ...

    def create(self, spec: TopicSpec) -> bool:
        """
        Create a topic, and wait until it can be written to.

        Returns:
            Whether it was made; False where there is one of this name already.

        Raises:
            BusUnavailableError: If no broker makes it; it says why.
        """
        ...

    def close(self) -> None:
        """Free the connections."""
        ...


def create_missing(admin: TopicAdmin, specs: Sequence[TopicSpec]) -> tuple[TopicSpec, ...]:
    """Create those of *specs* that do not exist, and return them."""
    existing = admin.states([spec.name for spec in specs])
    return tuple(spec for spec in specs if spec.name not in existing and admin.create(spec))


def differences(spec: TopicSpec, state: TopicState) -> Iterator[str]:
    """Yield what differs between what is wanted and what is, a line each."""
    if state.partitions != spec.partitions:
        line = f"has {state.partitions} partitions: expected {spec.partitions}"
        if state.partitions < spec.partitions:
            # Raised in place, it would move keys to other partitions, past what is still in the old ones.
            line += ", by a new topic and never in place; see docs/how-to/raise-partitions.md"
        yield line
    if spec.replication_factor not in {None, state.replication_factor}:
        yield f"has {state.replication_factor} replicas: expected {spec.replication_factor}"
    for name, wanted in spec.settings.items():
        if (actual := state.settings.get(name)) != wanted:
            yield f"has {name}={actual}: expected {wanted}"
