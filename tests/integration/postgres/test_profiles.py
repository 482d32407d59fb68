"""Whatever a profile or an address may hold, PostgreSQL gives it back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.postgres.building import new_user, register
from userservice_core.infrastructure.postgres.addresses import PostgresAddressReader
from userservice_core.infrastructure.postgres.profiles import PostgresProfileReader
from userservice_core.testing.samples import sample_address, sample_profile

if TYPE_CHECKING:
    from typing import Any

    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork

_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(text=_TEXTS, document=_DOCUMENTS)
@settings(max_examples=100, database=None, deadline=None, suppress_health_check=list(HealthCheck))
def test_texts_and_documents_come_back(pool: Database, uow: PostgresUnitOfWork, text: str, document: Any) -> None:  # noqa: ANN401
    """Any text without NUL, and any JSON, to the last digit and in its order."""
    user = uow.run(lambda transaction: register(transaction, new_user()))
    profile = sample_profile(user, first_name=text, bio=text, preferences={text: document})
    address = sample_address(user, address_line1=text, additional_notes=text)
    uow.run(lambda transaction: transaction.profiles.save(profile))
    uow.run(lambda transaction: transaction.addresses.add(address))

    read = PostgresProfileReader(pool).get(user.id)
    assert attrs.evolve(profile, preferences={}) == attrs.evolve(read, preferences={})
    assert json.dumps(profile.preferences) == json.dumps(read.preferences)
    assert address == PostgresAddressReader(pool).get(user.id, address.id)
