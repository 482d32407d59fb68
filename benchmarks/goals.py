"""What the service aims for, row by row: each has figures among the benches, or a reason why it has none here."""

from __future__ import annotations

from typing import Final

ROWS: Final = {
    "read": "a read of one user is three quarters as fast as its SELECT behind a bare framework",
    "check": "a check of permissions and an introspection ask no database, at half the speed of the same answer alone",
    "sign-in": "signing in, and failing to, uses nine tenths of the processors for the hash itself",
    "fairness": "while sign-ins take all they can get, nineteen of twenty reads take at most three times as long",
    "registration": "a registration leaves 85 % of the processors to the hash",
    "refresh": "a new pair of tokens is one commit, at half the speed of an INSERT",
    "list": "a page of users is 60 % as fast as its statements behind a bare framework, and a deep page like the first",
    "filters": "whatever a filter finds, a page reads no more of a database ten times as large",
    "flask": "the host on Flask is three quarters as fast as the one on Starlette",
    "lambda": "on Lambda the first call adds 150 ms to loading the drivers, and a further one 1.5 ms to the database",
    "relay": "the relay moves 85 % of what the client of the broker can send alone, and an event arrives within 30 ms",
    "consumer": "a consumer with an inbox handles half of what its client can fetch",
    "outbox": "writing the event with the change costs 15 % at most",
    "import": "loading the library takes a fifth longer than loading what it needs, at most",
    "memory": "a worker takes 100 MB and the memory of the hashes under way, however many sign in",
    "peers": "a read of one user is five times as fast as with each library of accounts for Python that is measured",
    "scale-out": "workers add up: so many of them do nine tenths of so many times one, as the simulation foretells",
}

NOT_HERE: Final = {"peers": "`make bench-peers` measures it: what it needs is fetched from elsewhere"}
"""Why a row has no figure among the benches."""
