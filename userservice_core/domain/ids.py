"""Identifiers, each a type of its own so that the type checker keeps them apart. Rows carry UUIDv7 (RFC 9562 §5.7)."""

from __future__ import annotations

from typing import NewType
from uuid import UUID

UserId = NewType("UserId", UUID)
RoleId = NewType("RoleId", UUID)
PermissionId = NewType("PermissionId", UUID)
SessionId = NewType("SessionId", UUID)
EventId = NewType("EventId", UUID)
AddressId = NewType("AddressId", UUID)
ClientId = NewType("ClientId", UUID)
ClientSecretId = NewType("ClientSecretId", UUID)
AuditEntryId = NewType("AuditEntryId", UUID)
