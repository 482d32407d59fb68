"""The contracts of consuming over PostgreSQL and Kafka."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import sessionmaker

from tests.effects import record_effects
from tests.integration.messaging.topics import Topics
from userservice_core.infrastructure.messaging.confluent_events import ConfluentEventSource
from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher
from userservice_core.infrastructure.messaging.own_inbox import UnitOfWorkInbox
from userservice_core.infrastructure.postgres.bus import PostgresEventGroup, PostgresEventPublisher
from userservice_core.infrastructure.postgres.bus_events import PostgresEventSource
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.inbox import PostgresInbox
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.testing.contracts.consuming import EventSourceContract, InboxContract, sample_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.servers.kafka import KafkaBroker
    from userservice_core.ports.consuming import ConsumedEvent, EventSource
    from userservice_core.ports.publishing import OutboxRecord
    from userservice_core.ports.unit_of_work import Transaction


class PostgresInboxContract(InboxContract):
    """Effects in a table beside the inbox."""

    @pytest.fixture
    def begin(self, database: str) -> Callable[[], contextlib.AbstractContextManager[Any]]:
        """Begin a transaction of the library in question."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def inbox(self, begin: Callable[[], contextlib.AbstractContextManager[Any]], database: str) -> PostgresInbox[Any]:
        """One with its tables."""
        with psycopg.connect(database) as connection:
            connection.execute("CREATE TABLE effect (number bigserial, event_id text)")
        inbox = PostgresInbox(begin)
        inbox.create_tables()
        inbox.create_tables()
        return inbox

    @pytest.fixture
    def write(self) -> Callable[[Sequence[ConsumedEvent], Any], None]:
        """Insert the ids."""

        def write(events: Sequence[ConsumedEvent], transaction: Any) -> None:  # noqa: ANN401 - of one library or another
            for event in events:
                if isinstance(transaction, psycopg.Connection):
                    transaction.execute("INSERT INTO effect (event_id) VALUES (%s)", (event.id,))
                else:
                    transaction.execute(text("INSERT INTO effect (event_id) VALUES (:id)"), {"id": event.id})

        return write

    @pytest.fixture
    def written(self, database: str) -> Callable[[], list[str]]:
        """Select them."""

        def written() -> list[str]:
            with psycopg.connect(database) as connection:
                return [event_id for (event_id,) in connection.execute("SELECT event_id FROM effect ORDER BY number")]

        return written

    def test_a_server_that_is_away_is_an_outage(self, inbox: PostgresInbox[Any]) -> None:
        """And one that refuses a statement is not."""
        with pytest.raises(psycopg.OperationalError) as away:
            psycopg.connect("postgresql://nobody@127.0.0.1:1/none")

        assert inbox.is_outage(away.value)
        assert inbox.is_outage(psycopg.errors.AdminShutdown())
        assert not inbox.is_outage(psycopg.errors.QueryCanceled())
        assert not inbox.is_outage(psycopg.errors.UniqueViolation())


class TestInboxOnPsycopg(PostgresInboxContract):
    """A connection for each transaction."""

    @pytest.fixture
    def begin(self, database: str) -> Callable[[], psycopg.Connection[Any]]:
        """Connect; the block commits and closes."""
        return lambda: psycopg.connect(database)


class TestOwnInbox(InboxContract):
    """Of the service's own groups: effects are events of the same transaction."""

    @pytest.fixture
    def inbox(self, database: str) -> Iterator[UnitOfWorkInbox]:
        """In the transactions of the unit of work."""
        with contextlib.closing(Database(database)) as pool:
            yield UnitOfWorkInbox(PostgresUnitOfWork(pool))

    @pytest.fixture
    def write(self) -> Callable[[Sequence[ConsumedEvent], Transaction], None]:
        """Record an event of the same id, after a read."""
        return record_effects

    @pytest.fixture
    def written(self, database: str) -> Callable[[], list[str]]:
        """Select the ids of what waits in the outbox."""

        def written() -> list[str]:
            with psycopg.connect(database) as connection:
                return [str(event_id) for (event_id,) in connection.execute("SELECT id FROM outbox ORDER BY seq")]

        return written


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """SQLAlchemy on psycopg."""
    engine = create_engine(database.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    engine.dispose()


class TestInboxOnSqlalchemy(PostgresInboxContract):
    """A connection of the engine's pool."""

    @pytest.fixture
    def begin(self, engine: Engine) -> Callable[[], contextlib.AbstractContextManager[Any]]:
        """Begin as one does."""
        return engine.begin


class TestInboxOnSessions(PostgresInboxContract):
    """A session of the ORM."""

    @pytest.fixture
    def begin(self, engine: Engine) -> Callable[[], contextlib.AbstractContextManager[Any]]:
        """Begin as one does."""
        return sessionmaker(engine).begin


class TestPostgresEventSource(EventSourceContract):
    """The bus's tables."""

    @pytest.fixture
    def topic(self) -> str:
        """Any."""
        return "things"

    @pytest.fixture
    def publish(self, database: str) -> Iterator[Callable[[Sequence[OutboxRecord]], None]]:
        """Publish to the groups that are registered."""
        with contextlib.closing(Database(database)) as pool:
            PostgresEventGroup(pool, group="g").register()
            publisher = PostgresEventPublisher(pool)

            def publish(records: Sequence[OutboxRecord]) -> None:
                assert all(delivery.error is None for delivery in publisher.publish(records))

            yield publish

    @pytest.fixture
    def member(
        self, publish: Callable[[Sequence[OutboxRecord]], None], database: str, topic: str
    ) -> Callable[[], PostgresEventSource]:
        """A source with connections of its own."""
        del publish
        return lambda: PostgresEventSource(database, group="g", topics=[topic], member_id="m")


class TestKafkaEventSource(EventSourceContract):
    """A topic of its own."""

    kind: ClassVar[type[KafkaEventSource | ConfluentEventSource]] = KafkaEventSource

    @pytest.fixture
    def topics(self, kafka_broker: KafkaBroker) -> Topics:
        """Names that no other test uses."""
        return Topics(kafka_broker, prefix=f"{sample_key()}.")

    @pytest.fixture
    def topic(self, topics: Topics) -> str:
        """A topic with a few partitions."""
        return topics.create("things")

    @pytest.fixture
    def publish(self, kafka_broker: KafkaBroker) -> Iterator[Callable[[Sequence[OutboxRecord]], None]]:
        """Publish as a relay does."""
        with contextlib.closing(KafkaEventPublisher([kafka_broker.bootstrap_servers], client_id="t")) as publisher:

            def publish(records: Sequence[OutboxRecord]) -> None:
                assert all(delivery.error is None for delivery in publisher.publish(records))

            yield publish

    @pytest.fixture
    def member(self, kafka_broker: KafkaBroker, topic: str) -> Callable[[], EventSource]:
        """A source without a name of its own."""
        return lambda: self.kind([kafka_broker.bootstrap_servers], group=f"{topic}.g", topics=[topic])


class TestConfluentEventSource(TestKafkaEventSource):
    """Through the other client."""

    kind = ConfluentEventSource
