"""nginx as the balancer in front of several instances."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

import psutil

from tests.servers import installed
from tests.servers.process import LoopbackServer, accepts_connections

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_RELOAD_SECONDS: Final = 20.0


class Nginx(LoopbackServer):
    """A reverse proxy that keeps connections to its instances; which those are can be changed while it serves."""

    name = "nginx"

    def __init__(self, folder: Path) -> None:
        """Keep its configuration, its log and what it buffers in *folder*."""
        super().__init__(folder)
        self._ports: tuple[int, ...] = ()

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def balance(self, ports: Iterable[int]) -> None:
        """
        Serve by the instances on *ports* of loopback from now on.

        If it is running, requests at work are finished by the instances that they went to, before this returns.
        """
        self._ports = tuple(ports)
        process = self.process
        if process is None:
            return
        workers = process.children()
        self._write()
        os.kill(process.pid, signal.SIGHUP)
        _, left = psutil.wait_procs(workers, timeout=_RELOAD_SECONDS)
        assert not left, self.log_tail()

    def command(self) -> list[str]:
        self._write()
        return [installed.nginx(), "-e", "stderr", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]

    def answers(self) -> bool:
        return accepts_connections(self.port)

    def _write(self) -> None:
        instances = "\n".join(f"server 127.0.0.1:{port} max_fails=0;" for port in self._ports)
        kept = " ".join(f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        text = f"""
            daemon off;
            worker_processes 1;
            pid nginx.pid;
            error_log stderr;
            events {{ worker_connections 1024; }}
            http {{
                access_log off;
                {kept}
                upstream instances {{ {instances} keepalive 32; }}
                server {{
                    listen 127.0.0.1:{self.port};
                    keepalive_requests 1000000;
                    location / {{
                        proxy_pass http://instances;
                        proxy_http_version 1.1;
                        proxy_set_header Connection "";
                        proxy_set_header Host $host;
                        proxy_next_upstream off;
                    }}
                }}
            }}
        """
        (self.folder / "nginx.conf").write_text(text)
