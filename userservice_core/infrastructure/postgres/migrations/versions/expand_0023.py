"""Keep the changes of settings that processes follow while they run, and who may make them."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0023"
down_revision: Final = "expand_0020"
branch_labels: Final = None
depends_on: Final = None

_PERMISSIONS: Final = """
    INSERT INTO permissions (permission_id, resource, action, description, group_name, is_system_permission)
    VALUES ('01900000-0000-7000-8000-02000000002c', 'setting', 'read', NULL, 'setting', true),
           ('01900000-0000-7000-8000-02000000002d', 'setting', 'update', NULL, 'setting', true)
    ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    """Create the table, and the permissions where an earlier version made the others."""
    op.execute(
        """
        CREATE TABLE setting_changes (
            name text COLLATE "C" NOT NULL,
            version bigint NOT NULL,
            before text,
            after text,
            at timestamp with time zone NOT NULL,
            actor_kind text COLLATE "C" NOT NULL,
            actor_id uuid,
            reason text NOT NULL,
            CONSTRAINT pk_setting_changes PRIMARY KEY (name, version),
            CONSTRAINT ck_setting_changes_version CHECK (version > 0)
        )
        """
    )
    op.execute(_PERMISSIONS)


def downgrade() -> None:
    """Drop it, and the settings with it; the permissions stay, since roles may grant them."""
    op.execute("DROP TABLE setting_changes")
