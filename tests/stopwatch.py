"""What a stopwatch tells: how long answers take, asked in random order, and how well two kinds can be told apart."""

from __future__ import annotations

import json
import time
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from userservice_core.http.messages import Request, Response

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from userservice_core.http.pipeline import Pipeline


def post(pipeline: Pipeline, path: str, **body: str) -> Response:
    """Send JSON without a host."""
    content = json.dumps(body).encode()
    return pipeline.handle(
        Request(method="POST", path=path, headers=(("content-type", "application/json"),), body=content)
    )


def without_request_id(answer: Response) -> str:
    """Return the body of a problem, but for what is new in each."""
    body = json.loads(answer.body)
    del body["requestId"]
    return json.dumps(body)


def chance_that_first_is_slower(first: list[float], second: list[float]) -> float:
    """Return the area under the ROC curve (Mann and Whitney 1947): 0.5 where the two cannot be told apart."""
    ordered = sorted(second)
    wins = sum(bisect_left(ordered, each) + bisect_right(ordered, each) for each in first) / 2
    return wins / (len(first) * len(second))


def seconds_taken(
    asked: Mapping[str, Callable[[int], Response]], *, times: int, warm_up: int, rng: random.Random
) -> tuple[dict[str, list[float]], set[tuple[int, str]]]:
    """
    Ask each kind *times* times and some before that, all in one random order.

    Args:
        asked: For each kind, how its question of a number is asked; each number comes once.
        times: How many durations of each kind are kept.
        warm_up: How many of each kind are not, the first ones.
        rng: The order.

    Returns:
        The seconds of each kind, and the different answers that there were, by status and body.
    """
    questions = [(kind, number) for kind in asked for number in range(times + warm_up)]
    rng.shuffle(questions)
    seconds: dict[str, list[float]] = {kind: [] for kind in asked}
    answers = set()
    for kind, number in questions:
        began = time.perf_counter()
        answer = asked[kind](number)
        seconds[kind].append(time.perf_counter() - began)
        answers.add((answer.status, without_request_id(answer) if answer.body else ""))
    return {kind: taken[warm_up:] for kind, taken in seconds.items()}, answers
