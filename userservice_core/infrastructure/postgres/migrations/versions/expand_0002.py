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

_ADDRESSES: Final = """
    CREATE TABLE addresses (
        user_id uuid NOT NULL,
        address_id uuid NOT NULL,
        address_type text,
        address_line1 text NOT NULL,
        address_line2 text,
        city text NOT NULL,
        state_or_province text,
        postal_code text,
        country_code text NOT NULL,
        contact_name text,
        contact_phone text,
        company_name text,
        additional_notes text,
        is_default_shipping boolean NOT NULL,
        is_default_billing boolean NOT NULL,
        version bigint NOT NULL,
        CONSTRAINT pk_addresses PRIMARY KEY (user_id, address_id),
        CONSTRAINT fk_addresses_user_id_users FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE,
        CONSTRAINT ck_addresses_address_type CHECK (address_type IN ('shipping', 'billing', 'home', 'work'))
    )
    """
_DEFAULTS: Final = (
    "CREATE UNIQUE INDEX uq_addresses_default_shipping ON addresses (user_id) WHERE is_default_shipping",
    "CREATE UNIQUE INDEX uq_addresses_default_billing ON addresses (user_id) WHERE is_default_billing",
)


def upgrade() -> None:
    """Create the tables; nobody has written anything yet."""
    for statement in (_PROFILES, _ADDRESSES, *_DEFAULTS):
        op.execute(sa.text(statement))


def downgrade() -> None:
    """Drop them, with all that was written."""
    op.execute("DROP TABLE addresses")
    op.execute("DROP TABLE user_profiles")
