"""Add what users say of themselves: profiles and addresses."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "expand_0002"
down_revision: Final = "expand_0001"
branch_labels: Final = None
depends_on: Final = None

_PROFILES: Final = """
    CREATE TABLE user_profiles (
        user_id uuid NOT NULL,
        first_name text,
        last_name text,
        display_name text,
        phone_number text,
        phone_verified boolean NOT NULL,
        date_of_birth date,
        gender text,
        profile_picture_url text,
        bio text,
        language text,
        timezone text,
        preferences json NOT NULL,
        communication_preferences json NOT NULL,
        version bigint NOT NULL,
        CONSTRAINT pk_user_profiles PRIMARY KEY (user_id),
        CONSTRAINT fk_user_profiles_user_id_users FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE
    )
    """


def upgrade() -> None:
    """Create the tables; nobody has written anything yet."""
    op.execute(sa.text(_PROFILES))


def downgrade() -> None:
    """Drop them, with all that was written."""
    op.execute("DROP TABLE user_profiles")
