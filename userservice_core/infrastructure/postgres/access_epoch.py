"""
The access epoch: one row, which is raised by every change of who may do what, and locked by whoever makes one.

Roles, permissions and service clients share it, so that their changes come one after the other.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from userservice_core.infrastructure.postgres.statements import Statement

LOCK_EPOCH: Final = Statement(text("SELECT epoch FROM access_epoch FOR UPDATE"))
RAISE_EPOCH: Final = Statement(text("UPDATE access_epoch SET epoch = epoch + 1"))
