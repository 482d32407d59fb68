"""The service as a function of AWS Lambda, in the emulator of its runtime."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks.figure import Bench, CannotMeasureError, Figure, Round, at_most
from benchmarks.limit_app import SELECT_USER
from tests.lambda_events import http_api_event
from tests.servers.installed import MissingServerError
from tests.servers.lambda_emulator import LambdaEmulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scene import Scene

_SERVICE: Final = "adapters.lambda_handler.entry.handler"
_EMPTY: Final = "benchmarks.empty_function.handler"
_COLD_MS: Final = 150.0
_WARM_MS: Final = 1.5
_TIMES: Final = 200


@contextlib.contextmanager
def _function(scene: Scene, handler: str, name: str) -> Iterator[LambdaEmulator]:
    variables = {**scene.installation.variables, "USERSERVICE_DATABASE_POOL_SIZE": "1", **scene.bytecode}
    try:
        emulator = LambdaEmulator(scene.folder / "functions" / name, handler=handler, environment=variables)
        emulator.start()
    except MissingServerError as error:
        raise CannotMeasureError(str(error)) from error
    try:
        yield emulator
    finally:
        emulator.stop()


def _event(scene: Scene) -> dict[str, Any]:
    token = scene.accounts[0].access_token
    return http_api_event("GET", "/users/me", (("authorization", f"Bearer {token}"),), b"")


def _milliseconds(emulator: LambdaEmulator, event: dict[str, Any]) -> float:
    began = time.perf_counter()
    answer = emulator.invoke(event)
    milliseconds = 1000 * (time.perf_counter() - began)
    if answer.get("statusCode") != 200:
        raise RuntimeError(f"the function answered {answer}; its log ends with:\n{emulator.log_tail()}")
    return milliseconds


def _cold(scene: Scene) -> Iterator[dict[str, Round]]:
    event = _event(scene)

    def first(handler: str, number: int) -> float:
        with _function(scene, handler, f"{handler}-{number}") as emulator:
            return _milliseconds(emulator, event)

    for number in itertools.count():
        if number == 0:  # which leaves the bytecode
            first(_EMPTY, 0)
            first(_SERVICE, 0)
        empty, cold = first(_EMPTY, number + 1), first(_SERVICE, number + 1)
        details = {"more than the empty function ms": cold - empty}
        yield {"lambda-cold": Round(value=cold, limit=empty + _COLD_MS, details=details)}


def _warm(scene: Scene) -> Iterator[dict[str, Round]]:
    event = _event(scene)
    emulator = scene.in_area("warm function", lambda: _function(scene, _SERVICE, "warm"))
    _milliseconds(emulator, event)
    with psycopg.connect(scene.installation.dsn, autocommit=True, prepare_threshold=0) as connection:
        while True:
            select = statistics.median(_select(connection, scene.accounts[0].user_id) for _ in range(_TIMES))
            warm = statistics.median(_milliseconds(emulator, event) for _ in range(_TIMES))
            yield {"lambda-warm": Round(value=warm, limit=_WARM_MS + select, details={"the SELECT ms": select})}


def _select(connection: psycopg.Connection[Any], user_id: str) -> float:
    began = time.perf_counter()
    connection.execute(SELECT_USER, (user_id,)).fetchone()
    return 1000 * (time.perf_counter() - began)


BENCHES: Final = (
    Bench(
        figures=(
            Figure(
                name="lambda-cold",
                title="Lambda, first invocation: GET /users/me",
                unit="ms",
                limit="a function that loads the same packages and connects, and 150 ms",
                goal=at_most(1),
                row="lambda",
            ),
        ),
        measure=_cold,
    ),
    Bench(
        figures=(
            Figure(
                name="lambda-warm",
                title="Lambda, a further invocation: GET /users/me",
                unit="ms",
                limit="its SELECT, and 1.5 ms",
                goal=at_most(1),
                row="lambda",
            ),
        ),
        measure=_warm,
    ),
)
