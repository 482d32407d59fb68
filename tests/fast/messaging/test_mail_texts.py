"""What mails say, in each language, with the package's templates and with others."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final
from uuid import UUID

import pytest

from userservice_core.domain.events import NotificationKind
from userservice_core.domain.ids import EventId
from userservice_core.errors import ConfigurationError, MailDeliveryError
from userservice_core.infrastructure.messaging.mail_texts import MailTexts
from userservice_core.ports.mail import LINK_PATHS, Mail

if TYPE_CHECKING:
    from pathlib import Path

_LINK: Final = "https://id.example.org/auth/verify-email?token=t&lang=en"
_BUILT_IN: Final = MailTexts(service_name="Accounts", restorable_days=7)
_HOSTILE: Final = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "</title></head>&lt;b&gt;",
)


def _mail(
    kind: NotificationKind = NotificationKind.VERIFY_EMAIL, *, language: str = "en", to: str = "ann@example.org"
) -> Mail:
    link = _LINK if kind in LINK_PATHS else None
    return Mail(id=EventId(UUID(int=1)), kind=kind, to=to, language=language, link=link)


def _given(folder: Path, **templates: str) -> Path:
    """Write templates, named like `en__verify_email_txt`, into *folder*."""
    for name, text in templates.items():
        stem, _, ending = name.rpartition("_")
        path = folder / f"{stem.replace('__', '/')}.{ending}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


# --- the built-in ones ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("kind", NotificationKind)
def test_every_kind_of_mail_has_a_text_in_every_language(kind: NotificationKind, language: str) -> None:
    """Subject, words and, just where there is one, the link; no field is left unfilled."""
    text = _BUILT_IN.render(_mail(kind, language=language))

    assert text.language == language
    assert text.subject
    assert "\n" not in text.subject
    assert not set("{}") & set(text.subject + text.plain + text.html)
    assert text.plain.endswith("\n")
    assert (_LINK in text.plain) == (f'<a href="{html.escape(_LINK)}">' in text.html) == (kind in LINK_PATHS)
    assert f'lang="{language}"' in text.html


@pytest.mark.parametrize("kind", NotificationKind)
def test_the_languages_say_different_things(kind: NotificationKind) -> None:
    """No language is a copy of another."""
    english, german = (_BUILT_IN.render(_mail(kind, language=language)) for language in ("en", "de"))

    assert english.subject != german.subject
    assert english.plain != german.plain


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("de", "de"),
        ("DE", "de"),
        ("de-AT", "de"),
        ("de-Latn-DE-1996", "de"),
        ("pt-BR", "en"),
        ("den", "en"),
        ("", "en"),
    ],
)
def test_the_nearest_language_is_taken_and_english_otherwise(wanted: str, expected: str) -> None:
    """By the lookup of RFC 4647 §3.4."""
    assert _BUILT_IN.render(_mail(language=wanted)).language == expected


@pytest.mark.parametrize("wanted", ["../en", "..", "de/../en", "layout.html", "\0", "de\nBcc: eve@example.org"])
def test_a_language_is_no_path_and_no_header(wanted: str) -> None:
    """What the event says names one of the languages, or none."""
    assert _BUILT_IN.render(_mail(language=wanted)).language == "en"


def test_the_days_are_those_of_the_settings() -> None:
    """The mail about a deletion promises what is kept."""
    assert "within 7 days" in _BUILT_IN.render(_mail(NotificationKind.ACCOUNT_DELETED)).plain


@pytest.mark.parametrize("name", _HOSTILE)
def test_a_name_is_text_and_nothing_else(tmp_path: Path, name: str) -> None:
    """In HTML it is escaped, and no name is taken for a template."""
    template = "Hello from {{ service }}\n\n{{ service }} writes to {{ to }}\n\n{{ link }}\n"
    texts = MailTexts(service_name=name, folder=_given(tmp_path, en__verify_email_txt=template))

    text = texts.render(_mail(to=f"{name}@example.org"))

    assert text.subject == f"Hello from {name}"
    assert text.plain.startswith(f"{name} writes to {name}@example.org\n")
    assert (name in text.html) == (html.escape(name) == name)
    assert html.unescape(text.html).count(f"{name}@example.org") == 1
    assert "<script" not in text.html
    assert "<img" not in text.html


def test_a_subject_is_one_line(tmp_path: Path) -> None:
    """Whatever an address holds: a second line would be a header of its own."""
    folder = _given(tmp_path, en__verify_email_txt="For {{ to }}\n\n{{ link }}\n")

    text = MailTexts(service_name="x", folder=folder).render(_mail(to="a\r\nBcc: eve@example.org"))

    assert not set("\r\n") & set(text.subject)


# --- others -----------------------------------------------------------------------------------------------------------


def test_given_templates_go_first_and_the_others_are_built_in(tmp_path: Path) -> None:
    """A folder holds what is to be different, and may add languages."""
    folder = _given(
        tmp_path,
        en__verify_email_txt="Welcome\n\nHere: {{ link }}\n",
        fr__verify_email_txt="Bienvenue\n\n{{ link }}\n",
        de__reset_password_html="<p>{{ paragraphs | length }} <a href='{{ link }}'>{{ link }}</a></p>",
        layout_html="<main>{% for p in paragraphs %}<p>{{ p }}</p>{% endfor %}</main>",
    )
    (folder / ".hidden").mkdir()
    texts = MailTexts(service_name="x", folder=folder)

    english, french, german, reset, notice = (
        texts.render(mail)
        for mail in (
            _mail(),
            _mail(language="fr-CA"),
            _mail(language="de"),
            _mail(NotificationKind.RESET_PASSWORD, language="de"),
            _mail(NotificationKind.NEW_DEVICE, language="fr"),
        )
    )

    assert (english.subject, english.plain) == ("Welcome", f"Here: {_LINK}\n")
    assert english.html == f"<main><p>Here: {html.escape(_LINK)}</p></main>"
    assert (french.subject, french.language) == ("Bienvenue", "fr")
    assert german.subject == _BUILT_IN.render(_mail(language="de")).subject
    assert reset.html.startswith("<p>4 <a href=")
    assert (notice.language, notice.html.startswith("<main>")) == ("en", True)


@pytest.mark.parametrize(
    ("templates", "problem"),
    [
        ({"en__verify_email_txt": "{{ nobody }}\n\n{{ link }}"}, "'nobody' is undefined"),
        ({"en__verify_email_txt": "{% if %}"}, "TemplateSyntaxError"),
        ({"en__verify_email_txt": "a\n\n{{ link }}{{ ''.__class__.__mro__ }}"}, "SecurityError"),
        ({"en__verify_email_txt": "a\n\n{{ link }}{{ 1 / 0 }}"}, "ZeroDivisionError"),
        ({"en__verify_email_txt": "a\n\n{% include '/etc/passwd' %}"}, "TemplateNotFound"),
        ({"en__verify_email_txt": "Confirm\n\nplease"}, "shows no link"),
        ({"en__verify_email_txt": "{{ link }}"}, "expected a subject"),
        ({"en__new_device_txt": ""}, "expected a subject"),
        ({"en__reset_password_html": "<p>please</p>"}, "shows no link"),
        ({"layout_html": "<p>please</p>"}, "shows no link"),
        ({"en__welcome_txt": "a\n\nb"}, "expected layout.html, or a kind of mail like en/verify_email.txt"),
        ({"en__verify_email_md": "a\n\nb"}, "expected layout.html"),
        ({"english-language__verify_email_txt": "a\n\nb"}, "expected layout.html"),
        ({"verify_email_txt": "a\n\nb"}, "expected layout.html"),
    ],
)
def test_a_template_that_cannot_be_used_is_told_at_the_start(
    tmp_path: Path, templates: dict[str, str], problem: str
) -> None:
    """With its path; not when the first mail is due."""
    with pytest.raises(ConfigurationError) as raised:
        MailTexts(service_name="x", folder=_given(tmp_path, **templates))

    [line] = raised.value.problems
    assert line.startswith(str(tmp_path))
    assert problem in line


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """One line each, a file that is no text among them."""
    folder = _given(tmp_path, en__verify_email_txt="", de__nothing_txt="")
    (folder / "en" / "invite.txt").write_bytes(b"\xff")

    with pytest.raises(ConfigurationError) as raised:
        MailTexts(service_name="x", folder=folder)

    assert len(raised.value.problems) == 3


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The built-in ones are not sent silently in its place."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        MailTexts(service_name="x", folder=tmp_path / "nowhere")


def test_a_template_that_fails_for_one_mail_has_that_one_put_aside(tmp_path: Path) -> None:
    """For good, and for it alone: the relay parks it with the cause."""
    folder = _given(tmp_path, en__verify_email_txt="a\n\n{{ link }}{{ 1 // (to | length - 14) }}\n")
    texts = MailTexts(service_name="x", folder=folder)

    with pytest.raises(MailDeliveryError) as raised:
        texts.render(_mail(to="fourteen@ch.xy"))

    assert (raised.value.permanent, raised.value.of_recipient) == (True, True)
