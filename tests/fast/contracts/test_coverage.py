"""No port is without a contract."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from typing import TYPE_CHECKING

from userservice_core import ports
from userservice_core.testing import contracts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def _modules_of(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def test_every_port_has_a_contract_suite() -> None:
    """The docstring of the suite names the ports that it is for."""
    protocols = {
        name
        for module in _modules_of(ports)
        for name, value in vars(module).items()
        if getattr(value, "_is_protocol", False) and value.__module__ == module.__name__
    }
    suites = [
        inspect.getdoc(value) or ""
        for module in _modules_of(contracts)
        for name, value in vars(module).items()
        if inspect.isclass(value) and name.endswith("Contract")
    ]

    assert len(protocols) > 30
    assert {name for name in protocols if not any(re.search(rf"\b{name}\b", suite) for suite in suites)} == set()
