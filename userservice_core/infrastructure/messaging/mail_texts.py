"""What mails say: templates in several languages, those of the package and those of whoever runs the service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

import attrs
from jinja2 import DictLoader, StrictUndefined, TemplateError, select_autoescape
from jinja2.sandbox import ImmutableSandboxedEnvironment

from userservice_core.domain.events import NotificationKind
from userservice_core.domain.ids import EventId
from userservice_core.errors import ConfigurationError, MailDeliveryError
from userservice_core.ports.mail import LINK_PATHS, Mail

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUILT_IN: Final = Path(__file__).parent / "mail_templates"
_LAYOUT: Final = "layout.html"
_FALLBACK: Final = "en"
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8})*")
_VARIABLES: Final = ("service", "to", "link", "language", "restorable_days")
_TEMPLATE_FAULTS: Final = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What rendering can raise, which is whatever an expression in a template can."""


@attrs.frozen(kw_only=True)
class MailText:
    """
    A mail in words.

    Attributes:
        subject: One line.
        plain: The text; ends with a line break.
        html: The same as a page of HTML.
        language: BCP 47 tag of the language that it is in.
    """

    subject: str
    plain: str
    html: str
    language: str


class MailTexts:
    """
    Renders mails from templates (Jinja, sandboxed; what goes into HTML is escaped).

    `LANGUAGE/KIND.txt` has the subject in its first line and then paragraphs, of which the HTML is made by
    `layout.html`; where there is a `LANGUAGE/KIND.html`, that is the HTML instead. All are read once.
    """

    def __init__(self, *, service_name: str, restorable_days: float = 30.0, folder: Path | None = None) -> None:
        """
        Read and try out the templates.

        Args:
            service_name: What recipients know the service by.
            restorable_days: How long a deleted account can be restored.
            folder: Templates that go before those of the package; what is not there is taken from the package.

        Raises:
            ConfigurationError: Naming each template that cannot be used, one line each.
        """
        self._facts = {"service": service_name, "restorable_days": f"{restorable_days:g}"}
        templates = {name: path.read_text(encoding="utf-8") for name, path in _files_in(_BUILT_IN)}
        problems = []
        given = []
        for name, path in () if folder is None else _files_of(folder):
            try:
                templates[name] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                problems.append(f"{path} cannot be read as text in UTF-8")
            else:
                given.append((name, path))
        self._names = frozenset(templates)
        # No template reaches another file, and none changes what it is given.
        self._environment = ImmutableSandboxedEnvironment(
            loader=DictLoader(templates),
            autoescape=select_autoescape(("html",)),
            undefined=StrictUndefined,
            auto_reload=False,
            cache_size=-1,
        )
        for name, path in given:
            problem = _misplaced(name) or self._problem(name)
            if problem is not None:
                problems.append(f"{path} cannot be used: {problem}")
        if problems:
            raise ConfigurationError(tuple(problems))

    def render(self, mail: Mail) -> MailText:
        """
        Put *mail* into words, in its language or else in English.

        Raises:
            MailDeliveryError: If a template that was given cannot take this mail.
        """
        try:
            return self._rendered(mail, self._language_for(mail))
        except _TEMPLATE_FAULTS as error:
            raise MailDeliveryError(
                f"The text cannot be made: {type(error).__name__}", permanent=True, of_recipient=True
            ) from error

    def _language_for(self, mail: Mail) -> str:
        """Return the nearest language that there is (lookup of RFC 4647 §3.4): for de-AT-1996 it is de-at, or de."""
        subtags = mail.language.lower().split("-")
        for length in range(len(subtags), 0, -1):
            language = "-".join(subtags[:length])
            if f"{language}/{mail.kind}.txt" in self._names:
                return language
        return _FALLBACK

    def _rendered(self, mail: Mail, language: str) -> MailText:
        facts = {**self._facts, "to": mail.to, "link": mail.link, "language": language}
        text = self._environment.get_template(f"{language}/{mail.kind}.txt").render(facts)
        first_line, _, rest = text.strip().partition("\n")
        subject, plain = " ".join(first_line.split()), rest.strip()
        own = f"{language}/{mail.kind}.html"
        page = self._environment.get_template(own if own in self._names else _LAYOUT)
        paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", plain)]
        html = page.render({**facts, "subject": subject, "paragraphs": paragraphs})
        return MailText(subject=subject, plain=f"{plain}\n", html=html, language=language)

    def _problem(self, name: str) -> str | None:
        """Try the template out with what it will be given."""
        language, _, file = name.rpartition("/")
        kinds = list(NotificationKind) if name == _LAYOUT else [NotificationKind(file.rpartition(".")[0])]
        for kind in kinds:
            sample = _sample(kind)
            try:
                rendered = self._rendered(sample, language if f"{language}/{kind}.txt" in self._names else _FALLBACK)
            except _TEMPLATE_FAULTS as error:
                return f"{type(error).__name__}: {error}; there are {', '.join(_VARIABLES)}"
            if not rendered.subject or not rendered.plain.strip():
                return "expected a subject in the first line, and a text below it"
            if sample.link is not None and not (sample.link in rendered.plain and sample.link in rendered.html):
                return f"a mail of the kind {kind} shows no link"
        return None


def _files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield what is in *folder* and in the folders below it; hidden files are not for us."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            for file in sorted(entry.iterdir()):
                if not file.name.startswith("."):
                    yield f"{entry.name.lower()}/{file.name}", file
        else:
            yield entry.name, entry


def _files_of(folder: Path) -> tuple[tuple[str, Path], ...]:
    try:
        return tuple(_files_in(folder))
    except OSError as error:
        problem = f"The folder of mail templates {str(folder)!r} cannot be read: {error.strerror}"
        raise ConfigurationError((problem,)) from error


def _misplaced(name: str) -> str | None:
    """Say what is wrong with the place of a template, if anything is."""
    if name == _LAYOUT:
        return None
    language, _, file = name.rpartition("/")
    kind, _, ending = file.rpartition(".")
    if not _LANGUAGE.fullmatch(language) or ending not in {"txt", "html"} or kind not in set(NotificationKind):
        return f"expected {_LAYOUT}, or a kind of mail like {_FALLBACK}/{NotificationKind.VERIFY_EMAIL}.txt or .html"
    return None


def _sample(kind: NotificationKind) -> Mail:
    link = f"https://accounts.example.com/auth/{LINK_PATHS[kind]}?token=t" if kind in LINK_PATHS else None
    return Mail(id=EventId(UUID(int=0)), kind=kind, to="ann@example.com", language=_FALLBACK, link=link)
