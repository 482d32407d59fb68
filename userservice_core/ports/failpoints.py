"""
Named steps at which a test can stop the process, to show that a crash between any two of them loses nothing.

A step costs one comparison with None while nothing is installed. The composition root installs a hook for tests
only, and refuses to do so in production.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_hook: Callable[[str], None] | None = None


def failpoint(name: str) -> None:
    """Pass the step *name*, such as `uow.before-commit`; whatever is installed for it happens here."""
    if _hook is not None:
        _hook(name)


def failpoints_are_installed() -> bool:
    """Tell whether steps are observed at all, for one that costs more than a comparison to offer."""
    return _hook is not None


def install_failpoints(hook: Callable[[str], None] | None) -> None:
    """Call *hook* with the name of each step from now on; None ends that. Only for testing."""
    global _hook  # noqa: PLW0603 - one switch for the whole process is what makes an unused step free
    _hook = hook
