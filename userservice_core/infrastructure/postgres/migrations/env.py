"""What Alembic runs: the revisions asked for, on the connection that :mod:`migrate` hands over."""

from __future__ import annotations

from alembic import context

from userservice_core.infrastructure.postgres.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
