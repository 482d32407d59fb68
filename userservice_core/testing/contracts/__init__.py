"""
What each port promises, as tests: a class for each port, to be run over every implementation of it.

Derive a test class from a contract and override its fixtures, with an implementation that nobody else uses::

    class TestUsers(UsersContract):
        @pytest.fixture
        def backend(self) -> Backend: ...

Import the classes from the modules of this package, so that a failed assertion is explained.
"""

from __future__ import annotations

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
