"""Logs: one event a line, on standard error, with the id of the request and without anybody's secrets."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from userservice_core.ports.context import current_call

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import TextIO

    from structlog.typing import Processor

MASK: Final = "***"
_MAX_DEPTH: Final = 6

_SECRET_NAMES: Final = re.compile(
    r"passw|passphrase|secret|token|authori[sz]ation|cookie|credential|api_?key|private_?key|key_?ring|otp|\bdsn\b",
    re.IGNORECASE,
)
_NAMES_THAT_ONLY_SOUND_SO: Final = frozenset({"token_type", "token_purpose", "password_outdated"})

# Where a secret has no name of its own: in a message, an exception, a URL.
_SECRET_TEXTS: Final = (
    (re.compile(r"\beyJ[\w-]+\.[\w-]*\.[\w-]*"), MASK),  # a JWT: `{"` in base64url is where it begins
    (re.compile(r"\b(rt1|s1)\.[\w-]+\.[\w-]+"), rf"\1.{MASK}"),  # our refresh tokens and sealed values
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]+", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"\$(argon2\w*|scrypt|2[aby]|pbkdf2[\w-]*)\$[^\s'\"]+"), rf"$\1${MASK}"),
    (re.compile(r"(://[^/\s:@'\"]*):[^/\s@'\"]+@"), rf"\1:{MASK}@"),
    (
        re.compile(r"\b(\w*(?:passw|secret|token|authorization)\w*['\"]?\s*[=:]\s*)['\"]?[^\s'\",;&]+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
)


def configure_logging(
    *,
    level: str = "info",
    log_format: Literal["json", "console"] = "json",
    stream: TextIO | None = None,
) -> None:
    """
    Send structlog's events and everybody else's log records through one chain to one stream.

    Args:
        level: Least level that is written: debug, info, warning, error or critical.
        log_format: `json` for machines, one object a line; `console` for a developer's terminal.
        stream: Standard error if not given.
    """
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request,
    ]
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*chain, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                mask_secrets,
                _renderer(log_format, is_terminal=target.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    _set_level(level)
    # Of every try to connect, several lines each, and without what it was for.
    logging.getLogger("kafka.net").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *chain,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def change_level(level: str) -> None:
    """Write from now on what has this level and more; nothing where the logging of the process is somebody else's."""
    handlers = logging.getLogger().handlers
    if any(isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter) for handler in handlers):
        _set_level(level)


def _set_level(level: str) -> None:
    root = logging.getLogger()
    root.setLevel(level.upper())
    # They tell of every connection, partition and plug-in; what goes wrong is told by whoever uses them.
    for talkative in ("kafka", "alembic.runtime.plugins"):
        logging.getLogger(talkative).setLevel(max(logging.WARNING, root.level))


def mask_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what is named like a secret, and what looks like one wherever it stands."""
    for name in event:
        event[name] = _masked(name, event[name], depth=0)
    return event


def _masked(name: str, value: object, *, depth: int) -> object:
    if value is None or isinstance(value, bool):
        return value
    is_secret = _SECRET_NAMES.search(name) is not None and name not in _NAMES_THAT_ONLY_SOUND_SO
    if is_secret or depth >= _MAX_DEPTH:
        return MASK
    match value:
        case int() | float():
            return value
        case dict():
            return {key: _masked(str(key), item, depth=depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked("", item, depth=depth + 1) for item in value]
        case _:
            return _masked_text(value if isinstance(value, str) else repr(value))


def _masked_text(text: str) -> str:
    for pattern, replacement in _SECRET_TEXTS:
        text = pattern.sub(replacement, text)
    return text


def _add_request(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    call = current_call()
    if call.request_id:
        event["request_id"] = call.request_id
    if call.traceparent is not None:
        event["traceparent"] = call.traceparent
    return event


def _renderer(log_format: Literal["json", "console"], *, is_terminal: bool) -> Processor:
    if log_format == "console":
        return structlog.dev.ConsoleRenderer(colors=is_terminal)
    return structlog.processors.JSONRenderer()
