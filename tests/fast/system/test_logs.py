"""Logs: one line an event, the request's id in it, and nobody's secret."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.infrastructure.system.logs import MASK, configure_logging, mask_secrets
from userservice_core.ports.context import CallContext, call_context

if TYPE_CHECKING:
    from collections.abc import Iterator

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is logged; the set-up of before is put back at the end."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.asvs("16.2.3", "16.2.4", "16.4.1")
def test_an_event_is_one_json_object_on_one_line(stream: io.StringIO) -> None:
    """With time, level, logger, and the request it belongs to; line breaks stay inside the text."""
    configure_logging(stream=stream)
    log = structlog.get_logger("userservice.test")
    with call_context(CallContext(request_id="req-1", traceparent="00-a-b-01")):
        log.info("something happened\nat last", user_id=7)
    log.info("outside")
    first, second = _lines(stream)

    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "something happened\nat last",
        "level": "info",
        "logger": "userservice.test",
        "request_id": "req-1",
        "traceparent": "00-a-b-01",
        "user_id": 7,
    }
    assert "request_id" not in second


@pytest.mark.asvs("16.2.3")
def test_records_of_libraries_take_the_same_way(stream: io.StringIO) -> None:
    """Their messages are formatted, masked and written as ours."""
    configure_logging(stream=stream)
    with call_context(CallContext(request_id="req-1")):
        logging.getLogger("some.library").warning("connecting to %s", "postgresql://user:hunter2@host/db")
    (line,) = _lines(stream)

    assert line["event"] == f"connecting to postgresql://user:{MASK}@host/db"
    assert (line["level"], line["logger"], line["request_id"]) == ("warning", "some.library", "req-1")


def test_what_is_below_the_level_is_not_written(stream: io.StringIO) -> None:
    """Neither ours nor that of libraries."""
    configure_logging(level="error", stream=stream)
    structlog.get_logger("userservice.test").warning("no")
    logging.getLogger("some.library").warning("no")
    structlog.get_logger("userservice.test").error("yes")

    assert [line["event"] for line in _lines(stream)] == ["yes"]


def test_the_set_up_can_be_repeated(stream: io.StringIO) -> None:
    """No event is written twice."""
    configure_logging(stream=io.StringIO())
    configure_logging(stream=stream)
    structlog.get_logger("userservice.test").info("once")

    assert len(_lines(stream)) == 1


def test_an_exception_is_masked_too(stream: io.StringIO) -> None:
    """Its message may quote what it choked on."""
    configure_logging(stream=stream)
    try:
        int(f"Bearer {JWT}")
    except ValueError:
        structlog.get_logger("userservice.test").exception("failed")
    (line,) = _lines(stream)

    assert "ValueError" in line["exception"]
    assert JWT not in stream.getvalue()


def test_a_developer_reads_lines_for_people(stream: io.StringIO) -> None:
    """Masked as well, and without colour where it is no terminal."""
    configure_logging(log_format="console", stream=stream)
    structlog.get_logger("userservice.test").info("signing in", password="hunter2")

    assert "signing in" in stream.getvalue()
    assert MASK in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "new_password",
        "passwordHash",
        "refresh_token",
        "accessToken",
        "Authorization",
        "authorisation",
        "client_secret",
        "cookie",
        "set-cookie",
        "api_key",
        "keyring",
        "otp",
        "dsn",
    ],
)
@pytest.mark.parametrize("value", ["hunter2", b"hunter2", 123456, ["hunter2"], {"a": "hunter2"}])
def test_what_is_named_like_a_secret_is_masked(name: str, value: object) -> None:
    """Whatever its type, and however deep it stands."""
    event = {"event": "x", name: value, "nested": [{"request": {name: value}}]}

    masked = mask_secrets(None, "info", event)

    assert masked == {"event": "x", name: MASK, "nested": [{"request": {name: MASK}}]}


@pytest.mark.asvs("14.2.4", "16.2.5")
@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"token was {JWT}", JWT),
        (f"Authorization: Bearer {JWT}", JWT),
        ("authorization: Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
        ("refresh rt1.0011aabbccdd.AAAAbbbb-_ refused", "AAAAbbbb-_"),
        ("sealed s1.0011aabbccdd.AAAAbbbb-_ broken", "AAAAbbbb-_"),
        ("GET /verify-email?token=abcDEF123-_ 404", "abcDEF123-_"),
        ("{'password': 'hunter2', 'email': 'a@example.com'}", "hunter2"),
        ('{"newPassword":"hunter2"}', "hunter2"),
        ("postgresql://user:hunter2@host:5432/db", "hunter2"),
        ("redis://:hunter2@host/0", "hunter2"),
        ("host=db password=hunter2 user=u", "hunter2"),
        ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", "aGFzaA"),
        ("$2b$12$abcdefghijklmnopqrstuv", "abcdefghijklmnopqrstuv"),
    ],
)
def test_what_looks_like_a_secret_is_masked_wherever_it_stands(text: str, secret: str) -> None:
    """In messages, URLs, and texts of objects."""
    masked = mask_secrets(None, "info", {"event": text, "other": (text,), "object": Exception(text)})

    assert secret not in str(masked)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event", "the user signed in"),
        ("url", "https://users.example.com/users/me?fields=email"),
        ("error", "invalid-token"),
        ("version", "1.2.3"),
        ("token_type", "at+jwt"),
        ("times", 3),
        ("none", None),
    ],
)
def test_what_is_no_secret_stays_readable(name: str, value: object) -> None:
    """A log that masks everything helps nobody."""
    assert mask_secrets(None, "info", {name: value}) == {name: value}


_JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(event=st.dictionaries(st.text(), _JSON_LIKE, max_size=5))
def test_nothing_that_is_logged_makes_logging_fail(event: dict[str, Any]) -> None:
    """Deep, foreign and strange values included."""
    masked = mask_secrets(None, "info", dict(event))

    assert masked.keys() == event.keys()
