"""What the tests of real processes share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.installations import built_wheel

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    return built_wheel(tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel"))
