"""
Measure the service beside other libraries of accounts: ``python -m benchmarks.peers``, which ``make bench-peers`` runs.

Each is a small application made as its documentation says, in an environment of its own that is made when it is first
needed, on the same PostgreSQL, with the same number of users and of workers, by the same load. Rounds alternate between
the service and its peers. A limit here is what the peer does: a ratio of 5 is five times as many answers a second.
"""

from __future__ import annotations

import sys
from typing import Final

from benchmarks.command import Command, run
from benchmarks.peers.environments import versions_of
from benchmarks.peers.figures import AREA
from benchmarks.peers.parties import PEERS
from benchmarks.scene import Effort

COMMAND: Final = Command(
    module="benchmarks.peers",
    does="Measure the service beside other libraries of accounts.",
    areas=(AREA,),
    usual=Effort(users=10_000),
    quick=Effort(rounds=1, seconds=1.0, users=2_000),
    name="peers",
    versions={"peers": {peer.name: versions_of(peer.package) for peer in PEERS}},
)

if __name__ == "__main__":
    sys.exit(run(COMMAND))
