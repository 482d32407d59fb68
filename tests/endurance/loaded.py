"""
Loads all that the processes of a deployment load, and opens nothing.

A fork of a process that has done so is a new process for a tenth of the price; only the process that forks imports it.
"""

from __future__ import annotations

import importlib
import pkgutil

import pytest  # noqa: F401 - a process begins with the main module of its parent

from userservice_core import infrastructure

for module in pkgutil.walk_packages(infrastructure.__path__, f"{infrastructure.__name__}."):
    if ".versions" not in module.name and not module.name.endswith("env"):
        importlib.import_module(module.name)
