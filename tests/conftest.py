"""What all tests share."""

from __future__ import annotations

import os

import hypothesis

pytest_plugins = ("tests.reporting", "tests.servers.fixtures")

# The machine of a test is shared, so how long one example takes says nothing. CI runs the same examples each time; a
# failing one found elsewhere becomes a test of its own.
hypothesis.settings.register_profile("userservice", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("userservice")
