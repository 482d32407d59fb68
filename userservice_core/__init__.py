"""
A user service as a library: accounts, sign-in, sessions, roles and their events.

What this module names is the public API. Importing it loads no database, broker, cache or web framework: each name is
fetched when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from userservice_core import errors
    from userservice_core.application.authorizer import Authorizer
    from userservice_core.bootstrap import (
        UserService,
        bootstrap,
        bootstrap_in_memory,
        bootstrap_relay,
        configure_logging,
    )
    from userservice_core.config import Settings
    from userservice_core.infrastructure.security.token_verifier import TokenVerifier
    from userservice_core.ports.security import AccessClaims, PrincipalKind

__all__ = [
    "AccessClaims",
    "Authorizer",
    "PrincipalKind",
    "Settings",
    "TokenVerifier",
    "UserService",
    "bootstrap",
    "bootstrap_in_memory",
    "bootstrap_relay",
    "configure_logging",
    "errors",
]

_HOMES = {
    "AccessClaims": ("userservice_core.ports.security", "AccessClaims"),
    "Authorizer": ("userservice_core.application.authorizer", "Authorizer"),
    "Settings": ("userservice_core.config", "Settings"),
    "PrincipalKind": ("userservice_core.ports.security", "PrincipalKind"),
    "TokenVerifier": ("userservice_core.infrastructure.security.token_verifier", "TokenVerifier"),
    "UserService": ("userservice_core.bootstrap", "UserService"),
    "bootstrap": ("userservice_core.bootstrap", "bootstrap"),
    "bootstrap_in_memory": ("userservice_core.bootstrap", "bootstrap_in_memory"),
    "bootstrap_relay": ("userservice_core.bootstrap", "bootstrap_relay"),
    "configure_logging": ("userservice_core.bootstrap", "configure_logging"),
    "errors": ("userservice_core.errors", None),
}


def __getattr__(name: str) -> object:
    """Fetch a public name from where it lives."""
    try:
        module_name, attribute = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    module: ModuleType = importlib.import_module(module_name)
    return module if attribute is None else getattr(module, attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
