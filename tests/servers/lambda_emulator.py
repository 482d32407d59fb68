"""The runtime interface emulator of AWS Lambda with a handler of ours in it."""

from __future__ import annotations

import http.client
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from tests.servers import installed
from tests.servers.process import LoopbackServer, accepts_connections

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class LambdaEmulator(LoopbackServer):
    """
    One execution environment: the runtime and the handler are started by the first invocation.

    A further invocation waits for the one before it, as in one environment of Lambda.
    """

    name = "Lambda emulator"

    def __init__(self, folder: Path, *, handler: str, environment: Mapping[str, str] | None = None) -> None:
        """
        Name what is run.

        Args:
            folder: Where the log goes.
            handler: Module and function, like ``adapters.lambda_handler.entry.handler``.
            environment: Variables for the function beside those of this process.
        """
        super().__init__(folder)
        self._handler = handler
        # The handler is imported from where the tests import it, wherever the folder of the server is.
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(environment or {})}

    def command(self) -> list[str]:
        return [
            installed.lambda_emulator(),
            *("--runtime-interface-emulator-address", f"127.0.0.1:{self.port}"),
            *("--runtime-api-address", f"127.0.0.1:{self.reserve_port('runtime_port')}"),
            *(sys.executable, "-m", "awslambdaric", self._handler),
        ]

    def answers(self) -> bool:
        return accepts_connections(self.port)

    def invoke(self, event: Mapping[str, Any], *, timeout_seconds: float = 30) -> Any:  # noqa: ANN401 - JSON of any shape
        """Invoke the function with *event*, and return what it answered; an error too is an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_seconds)
        try:
            connection.request("POST", "/2015-03-31/functions/function/invocations", body=json.dumps(event))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
