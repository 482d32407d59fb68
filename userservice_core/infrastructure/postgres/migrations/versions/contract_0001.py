"""Begin the branch of what is removed; nothing is, yet."""

from __future__ import annotations

from typing import Final

revision: Final = "contract_0001"
down_revision: Final = None
branch_labels: Final = ("contract",)
depends_on: Final = None


def upgrade() -> None:
    """Remove nothing."""


def downgrade() -> None:
    """Bring nothing back."""
