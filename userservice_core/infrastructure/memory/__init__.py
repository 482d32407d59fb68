"""
Every port in this process's memory: the model of what the ports say, and for the tests of whoever embeds the service.

What is stored is gone with the process. The contract suites of :mod:`userservice_core.testing` hold them to the ports.
"""

from __future__ import annotations

from userservice_core.infrastructure.memory.breached_passwords import InMemoryBreachedPasswords
from userservice_core.infrastructure.memory.cache import InMemoryCache
from userservice_core.infrastructure.memory.consistency import InMemoryPositions, InMemoryPositionSource
from userservice_core.infrastructure.memory.consuming import InMemoryEventSource, InMemoryInbox
from userservice_core.infrastructure.memory.limits import InMemoryRateLimiter
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics, NullMetrics
from userservice_core.infrastructure.memory.publishing import (
    InMemoryEventPublisher,
    InMemoryMailSender,
    InMemoryOutboxStore,
    InMemorySignal,
)
from userservice_core.infrastructure.memory.readers import (
    InMemoryAddressReader,
    InMemoryAnswerStore,
    InMemoryAuditReader,
    InMemoryClientReader,
    InMemoryFactorSecrets,
    InMemoryOneTimeTokenReader,
    InMemoryParkedEventReader,
    InMemoryPersonalDataReader,
    InMemoryProfileReader,
    InMemoryRevocationLog,
    InMemoryRoleReader,
    InMemorySessionStore,
    InMemorySettingReader,
    InMemorySigningKeyReader,
    InMemorySignInReader,
    InMemoryUserDumpReader,
    InMemoryUserReader,
)
from userservice_core.infrastructure.memory.retention import InMemoryExpiredRows, InMemoryPurgeLease
from userservice_core.infrastructure.memory.store import InMemoryStore
from userservice_core.infrastructure.memory.unit_of_work import InMemoryUnitOfWork

__all__ = [
    "InMemoryAddressReader",
    "InMemoryAnswerStore",
    "InMemoryAuditReader",
    "InMemoryBreachedPasswords",
    "InMemoryCache",
    "InMemoryClientReader",
    "InMemoryEventPublisher",
    "InMemoryEventSource",
    "InMemoryExpiredRows",
    "InMemoryFactorSecrets",
    "InMemoryInbox",
    "InMemoryMailSender",
    "InMemoryMetrics",
    "InMemoryOneTimeTokenReader",
    "InMemoryOutboxStore",
    "InMemoryParkedEventReader",
    "InMemoryPersonalDataReader",
    "InMemoryPositionSource",
    "InMemoryPositions",
    "InMemoryProfileReader",
    "InMemoryPurgeLease",
    "InMemoryRateLimiter",
    "InMemoryRevocationLog",
    "InMemoryRoleReader",
    "InMemorySessionStore",
    "InMemorySettingReader",
    "InMemorySignInReader",
    "InMemorySignal",
    "InMemorySigningKeyReader",
    "InMemoryStore",
    "InMemoryUnitOfWork",
    "InMemoryUserDumpReader",
    "InMemoryUserReader",
    "NullMetrics",
]
