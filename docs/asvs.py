"""
What the service shows of OWASP's Application Security Verification Standard 5.0, row by row.

A test that shows a row says so by its marker, ``@pytest.mark.asvs("6.2.1")``; the page of the reference is made of the
markers and of what is written here. The statements are ours: what the service does about the row, not what it asks.
"""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

TESTS: Final = Path(__file__).parents[1] / "tests"


@attrs.frozen
class Row:
    """
    A row, and what is done about it.

    Attributes:
        level: 1, 2 or 3.
        claim: What the service does, in a few words.
        short: What it falls short of; with tests it is met in part, without it is not.
        page: The page, below `docs`, that says it; for what is asked of documents.
        outside: Who does it instead; for what the service has no part in.
    """

    level: int
    claim: str
    short: str = attrs.field(default="", kw_only=True)
    page: str = attrs.field(default="", kw_only=True)
    outside: str = attrs.field(default="", kw_only=True)


_OPERATOR: Final = "whoever runs the service: TLS ends in front of it"

ROWS: Final[Mapping[str, Row]] = {
    # Encoding, sanitization
    "1.1.1": Row(2, "What comes percent-encoded or in UTF-8 is decoded once, in one place, or refused."),
    "1.1.2": Row(2, "Answers are written by one serializer; no text is built into JSON, SQL or a header."),
    "1.2.1": Row(1, "Whatever text is sent comes back as it was, or is refused with its place."),
    "1.2.2": Row(1, "Links are built from parts that are encoded; the picture of a profile is at an https address."),
    "1.2.3": Row(1, "JSON is written by its serializer and sent as JSON, whose type browsers may not guess."),
    "1.2.4": Row(1, "Values reach the database as parameters; what is put into a statement is a name of ours."),
    "1.2.5": Row(1, "Serving starts no program and uses no shell."),
    "1.2.9": Row(2, "What is searched for is text: the wildcards in it are escaped, and nothing of it is a pattern."),
    "1.3.2": Row(1, "Nothing that is received or stored is run, and nothing is read that could run code."),
    "1.3.3": Row(2, "Each text has a greatest length, and is measured before anything is done with it."),
    "1.3.5": Row(2, "Mails are texts of the package, in which values of users are values."),
    "1.3.6": Row(2, "No address that a user gives is fetched."),
    "1.3.7": Row(2, "Mails are texts of the package, in which values of users are values."),
    "1.3.10": Row(2, "No text of a user is a format; logs take fields."),
    "1.3.11": Row(2, "An address cannot begin a header, a command or a second recipient of a mail."),
    "1.4.2": Row(2, "Numbers have bounds, and one outside of them is refused and not cut."),
    "1.5.2": Row(2, "Events and cached values are read by their schema, and garbage is no value."),
    # Validation, business logic
    "2.1.1": Row(1, "What is valid is said for each member and parameter.", page="reference/openapi.json"),
    "2.1.2": Row(2, "Rules between members are said at the routes they hold for.", page="reference/http-api.md"),
    "2.1.3": Row(2, "The limits of requests, lists and mails are said.", page="explanation/http.md"),
    "2.2.1": Row(1, "Input is held against what is allowed; all else is refused, with every fault at once."),
    "2.2.2": Row(1, "That is done in the core, whichever host serves it."),
    "2.2.3": Row(2, "Members that depend on each other are checked together."),
    "2.3.1": Row(1, "An account moves by the table of moves only; a link for one thing does nothing else."),
    "2.3.2": Row(2, "Greatest numbers hold for fifty requests at once."),
    "2.3.3": Row(2, "A change, its audit entry and its events are committed together or not at all."),
    "2.3.4": Row(2, "Of fifty that want the one thing at once, one gets it."),
    "2.4.1": Row(2, "Routes that invite abuse have limits."),
    # Browsers
    "3.2.1": Row(1, "Answers are not to be rendered, and browsers are told so in a policy and a fixed type."),
    "3.3.1": Row(1, "By default there is no cookie; that of the refresh token is Secure, by attribute and prefix."),
    "3.3.2": Row(2, "By default there is no cookie; that of the refresh token stays within its site."),
    "3.3.3": Row(2, "By default there is no cookie; that of the refresh token belongs to its host, by its prefix."),
    "3.3.4": Row(2, "By default there is no cookie; that of the refresh token is read by no script."),
    "3.4.1": Row(1, "Each answer over https keeps browsers on https for a year."),
    "3.4.2": Row(1, "Other origins are let in by exact name, and none by default."),
    "3.4.3": Row(2, "Each answer has a content security policy that allows nothing."),
    "3.4.4": Row(2, "Each answer forbids browsers to guess its type."),
    "3.4.5": Row(2, "Each answer forbids browsers to send a referrer."),
    "3.4.6": Row(2, "Each answer forbids browsers to show it in a frame."),
    "3.5.1": Row(1, "A request is known by a header that no foreign page can send, or comes from a known page."),
    "3.5.2": Row(1, "Bodies are JSON, so that a foreign page has to ask first."),
    "3.5.3": Row(1, "GET, HEAD and OPTIONS change nothing."),
    "3.7.2": Row(2, "Nothing redirects."),
    # API
    "4.1.1": Row(1, "Each answer has the type that the description gives it; problems are problem documents."),
    "4.1.2": Row(2, "Only pages for people are redirected to https, and the service has none.", outside=_OPERATOR),
    "4.1.3": Row(2, "What a proxy adds is believed from as many proxies as the settings say, by default none."),
    "4.2.1": Row(
        2,
        "Where a message ends is for the server to say, and the hosts read no further.",
        short=("the servers are not tried with messages that two readers could read in two ways"),
    ),
    # Files
    "5.2.1": Row(1, "A body over 64 KiB is refused, by what is announced and by what comes."),
    # Authentication
    "6.1.1": Row(1, "What holds guessing up, and how owners are not locked out.", page="explanation/security-model.md"),
    "6.1.2": Row(2, "The words that a password may not be.", page="explanation/security-model.md"),
    "6.1.3": Row(2, "Every way to sign in and what it is worth.", page="explanation/security-model.md"),
    "6.2.1": Row(1, "A password has at least 15 characters, and the settings may not allow less than 8."),
    "6.2.2": Row(1, "Users change their password."),
    "6.2.3": Row(1, "That takes the current one."),
    "6.2.4": Row(1, "More than 3,000 passwords that are long enough are refused for being common."),
    "6.2.5": Row(1, "No kind of character is asked for, and none is refused."),
    "6.2.8": Row(1, "A password is compared whole and as it was typed, in NFC."),
    "6.2.9": Row(2, "At least 64 characters are taken; more than 128 are refused and not cut."),
    "6.2.10": Row(2, "A password does not expire."),
    "6.2.11": Row(2, "What is known of the account is no password for it."),
    "6.2.12": Row(2, "New passwords are looked up among those that were breached, where the settings say so."),
    "6.3.1": Row(1, "Guessing is counted and held up."),
    "6.3.2": Row(1, "Nobody is there at first; the first administrator has to change the password that was printed."),
    "6.3.3": Row(2, "A second factor can be had.", short="no setting demands it of anybody"),
    "6.3.4": Row(2, "Every way to a session is one function with one set of rules."),
    "6.3.5": Row(3, "Owners are told of a sign-in from a new device."),
    "6.3.6": Row(3, "Mail is no factor: it signs nobody in."),
    "6.3.7": Row(3, "Owners are told when password or address change, the old address too."),
    "6.3.8": Row(
        3,
        "Known and unknown addresses are answered alike, in body, work and time.",
        short="a registration does so only where a setting asks for it",
    ),
    "6.4.1": Row(1, "What is mailed or issued is random, ends soon, works once, and is stored as a digest."),
    "6.4.2": Row(1, "There are no hints and no questions."),
    "6.4.3": Row(2, "A forgotten password takes no second factor away."),
    "6.4.4": Row(2, "How access is regained.", page="explanation/accounts.md"),
    "6.4.6": Row(3, "Administrators have a reset mailed; they never choose a password."),
    "6.5.1": Row(2, "A code of a factor is taken once, whoever gives it at once."),
    "6.5.2": Row(2, "Secrets and recovery codes are stored sealed and as digests under a key."),
    "6.5.3": Row(2, "Secrets of factors and recovery codes come from the system's entropy."),
    "6.5.4": Row(2, "Recovery codes have 120 random bits."),
    "6.5.5": Row(2, "Codes end within half a minute, and a step for clocks that differ."),
    "6.6.2": Row(2, "A mailed link belongs to one purpose and one address."),
    "6.6.3": Row(2, "A mailed link has 256 random bits, and codes are tried five times."),
    # Sessions
    "7.1.1": Row(2, "When sessions end.", page="explanation/tokens.md"),
    "7.1.2": Row(2, "How many there may be.", page="explanation/security-model.md"),
    "7.1.3": Row(2, "What ends with what.", page="explanation/tokens.md"),
    "7.2.1": Row(1, "Tokens are verified in the core, on every host."),
    "7.2.2": Row(1, "A session is a token made for it; no key of an installation is one."),
    "7.2.3": Row(1, "The part of a refresh token that counts is 256 random bits."),
    "7.2.4": Row(1, "Each sign-in is a session of its own, and a new proof gives a new token."),
    "7.3.1": Row(2, "A session ends when it rests too long."),
    "7.3.2": Row(2, "A session ends some day however it is used."),
    "7.4.1": Row(1, "Signing out ends the session on every instance, for tokens that are out too."),
    "7.4.2": Row(1, "Who is suspended, leaves or is deleted is out at once, everywhere."),
    "7.4.3": Row(2, "A new password ends the other sessions."),
    "7.4.5": Row(2, "Administrators end one session of a user, or all."),
    "7.5.1": Row(2, "A change of what an account is known by wants a recent proof."),
    "7.5.2": Row(2, "Users see their sessions, and end each."),
    "7.5.3": Row(3, "Roles and clients are given and taken after a recent proof only."),
    # Authorization
    "8.1.1": Row(1, "Who may call what.", page="reference/http-api.md"),
    "8.1.2": Row(2, "Who may read and write which member.", page="explanation/authorization.md"),
    "8.2.1": Row(1, "Each route is tried by everybody who may and by everybody who may not."),
    "8.2.2": Row(1, "What is another user's is not there."),
    "8.2.3": Row(2, "Members that are not for the caller are not taken."),
    "8.3.1": Row(1, "Who may is decided in the core, from what is stored and not from what is sent."),
    "8.3.2": Row(3, "What is taken from a user counts at the next request."),
    "8.4.1": Row(2, "There is one tenant in an installation.", outside="separate installations"),
    # Tokens
    "9.1.1": Row(1, "A token is believed by its signature, as the Wycheproof vectors judge it."),
    "9.1.2": Row(1, "The algorithm is that of the key, one of three; none is not one."),
    "9.1.3": Row(1, "Keys come from the ring or the configured address, whatever a header says."),
    "9.2.1": Row(1, "A token counts from its beginning to its end, with 30 seconds for clocks."),
    "9.2.2": Row(2, "The type of a token is compared, and one is not taken for another."),
    "9.2.3": Row(2, "The audience is compared."),
    "9.2.4": Row(2, "Tokens are issued for the one audience of the settings."),
    # OAuth
    "10.3.1": Row(2, "A verifier compares the audience."),
    "10.3.2": Row(2, "A verifier decides by permissions of the token or asks for them."),
    "10.3.3": Row(2, "The subject is an id that is never used again."),
    "10.3.4": Row(2, "A verifier can tell how and when a user signed in."),
    "10.4.4": Row(1, "Clients have one grant; the sign-in of users is not one of OAuth's."),
    "10.4.5": Row(1, "A refresh token that comes again ends its session."),
    "10.4.8": Row(2, "Refreshing does not move the last end of a session."),
    "10.4.9": Row(2, "Clients end tokens."),
    "10.4.10": Row(2, "Asking about tokens and ending them takes a client's secret."),
    "10.4.11": Row(2, "The scope of a token lies within what the client holds."),
    # Cryptography
    "11.1.1": Row(2, "How keys are made, changed and ended.", page="how-to/rotate-keys.md"),
    "11.1.2": Row(2, "Which cipher is used for what.", page="explanation/security-model.md"),
    "11.2.1": Row(2, "Ciphers, hashes and tokens come from libraries, in one package of the tree."),
    "11.2.2": Row(2, "Keys, algorithms and the cost of hashes change without an end to what was made before."),
    "11.2.3": Row(2, "Keys have at least 128 bits of strength: RSA from 3,072 bits."),
    "11.2.4": Row(3, "Secrets are compared in constant time, or found by their digest."),
    "11.2.5": Row(3, "A bad token is one answer, whatever is wrong with it."),
    "11.3.1": Row(1, "Sealing is AES-256-GCM; no mode without authentication is used."),
    "11.3.2": Row(1, "What is sealed opens in its place only, and not after a change of one bit."),
    "11.3.3": Row(2, "What is sealed opens in its place only, and not after a change of one bit."),
    "11.3.4": Row(3, "No value is sealed alike twice."),
    "11.4.1": Row(1, "No broken hash is used."),
    "11.4.2": Row(2, "Passwords are hashed with Argon2id; production refuses less work than is advised."),
    "11.4.3": Row(2, "Signatures and digests are made with SHA-256 and longer."),
    "11.5.1": Row(2, "Secrets come from the system's entropy, with 128 bits and more; an id is not one."),
    "11.6.1": Row(2, "Keys are made by the library, in sizes that are good."),
    # Communication
    "12.1.1": Row(1, "The service speaks HTTP.", outside=_OPERATOR),
    "12.1.2": Row(2, "The service speaks HTTP.", outside=_OPERATOR),
    "12.1.3": Row(2, "The service speaks HTTP.", outside=_OPERATOR),
    "12.2.1": Row(1, "The service speaks HTTP; the issuer must be https in production.", outside=_OPERATOR),
    "12.2.2": Row(1, "The service speaks HTTP.", outside=_OPERATOR),
    "12.3.1": Row(2, "Mail and keys are fetched and sent over TLS."),
    "12.3.2": Row(2, "The other side's certificate is verified, with its name."),
    "12.3.3": Row(2, "The other side's certificate is verified, with its name."),
    "12.3.4": Row(2, "An authority of one's own can be named."),
    # Configuration
    "13.1.1": Row(2, "What the service talks to, and what it does without.", page="explanation/architecture.md"),
    "13.2.1": Row(2, "Each service has an account of its own with a password.", short="the database and mail only"),
    "13.2.2": Row(2, "The role that serves may not change tables or the audit log."),
    "13.2.3": Row(2, "There is no default secret; production refuses to start without its own."),
    "13.2.4": Row(2, "Only what the settings name is called.", short="what libpq opens is not watched"),
    "13.2.5": Row(2, "Only what the settings name is called.", short="what libpq opens is not watched"),
    "13.3.1": Row(2, "Secrets come from the environment or a file, and none is in the package."),
    "13.3.2": Row(2, "Keys can be kept in a module of hardware.", outside="nobody: the keys are in memory"),
    "13.4.1": Row(1, "What is installed is the library and nothing else."),
    "13.4.2": Row(2, "What helps developers is off in production."),
    "13.4.3": Row(2, "Folders are not served: there is no file behind a path."),
    "13.4.4": Row(2, "TRACE is no method of any path."),
    "13.4.5": Row(2, "Metrics are on a port of their own unless the settings say otherwise."),
    # Data protection
    "14.1.1": Row(2, "Which columns hold what about users.", page="explanation/security-model.md"),
    "14.1.2": Row(2, "What is done with them.", page="explanation/security-model.md"),
    "14.2.1": Row(
        1,
        "Secrets travel in bodies and headers; no query takes one but the link of a mail.",
        short=(
            "`GET /auth/verify-email` takes the token of the link in the query, uses nothing up and is not logged; "
            "administrators look for users by parts of addresses"
        ),
    ),
    "14.2.2": Row(2, "Nothing between caches what is not public, and the cache holds no secret."),
    "14.2.3": Row(
        2,
        "Nothing about users goes to others but mails and events, and, where settings have new passwords looked up, "
        "five digits of a digest.",
    ),
    "14.2.4": Row(2, "What is secret is in no log, event, metric, problem or audit entry."),
    "14.2.5": Row(3, "Answers about users are kept by nobody."),
    "14.2.7": Row(3, "What has had its time is erased."),
    "14.3.2": Row(2, "Answers about users are not kept by browsers."),
    # Code and architecture
    "15.1.1": Row(1, "How soon a weak dependency is replaced.", page="explanation/security-model.md"),
    "15.1.2": Row(2, "There is a list of what the service is made of."),
    "15.1.3": Row(2, "Which operations cost much, and what bounds them.", page="explanation/security-model.md"),
    "15.2.1": Row(
        1,
        "Each dependency has one version, which is the one that is tested.",
        short=("no test asks a list of known weaknesses; whoever releases does"),
    ),
    "15.2.2": Row(2, "What costs much has a bound on how much of it is done at once."),
    "15.2.3": Row(2, "What is installed holds no test and no example."),
    "15.3.1": Row(1, "An answer has the members that its route is described with, and no other."),
    "15.3.2": Row(2, "Nothing that is fetched is followed elsewhere."),
    "15.3.3": Row(2, "What is not known is refused, and nobody writes what is not theirs to write."),
    "15.3.4": Row(2, "The address of a client is that before the trusted proxies."),
    "15.3.5": Row(2, "A value of another type is refused and not converted."),
    "15.3.7": Row(2, "What is given twice is refused."),
    "15.4.2": Row(3, "What is checked is locked until it is changed."),
    "15.4.3": Row(3, "Locks are taken in one order, and waiting for one ends."),
    # Logs and errors
    "16.1.1": Row(2, "What is logged and audited.", page="explanation/audit.md"),
    "16.2.1": Row(2, "An audit entry says when, who, what, to whom, how it ended, and where from."),
    "16.2.2": Row(2, "Times are in UTC."),
    "16.2.3": Row(2, "Logs go to the error output and nowhere else."),
    "16.2.4": Row(2, "A line of the log is one JSON object."),
    "16.2.5": Row(2, "What is secret is in no log."),
    "16.3.1": Row(2, "Sign-ins, good and bad, are in the audit log."),
    "16.3.2": Row(2, "Who may not is in the audit log."),
    "16.3.3": Row(2, "What is tried against the rules is logged.", short="input that is invalid is counted only"),
    "16.3.4": Row(2, "What goes wrong inside is logged with its cause."),
    "16.4.1": Row(2, "No text of a user begins a line of the log."),
    "16.4.2": Row(2, "The role that serves cannot change the audit log."),
    "16.4.3": Row(2, "What is logged leaves the process as it is written.", outside="whoever collects the logs"),
    "16.5.1": Row(2, "A client is told of a fault inside without its cause."),
    "16.5.2": Row(2, "What is not needed may fail: what needs it says so, the rest goes on."),
    "16.5.3": Row(2, "Who cannot be checked is not let in."),
    "16.5.4": Row(3, "Whatever is raised is answered and logged once."),
}
"""The rows of levels 1 and 2 that have a subject here, and those of level 3 that tests show all the same."""

NOT_APPLICABLE: Final[Mapping[str, str]] = {
    "Nothing is interpreted as LDAP, XPath, LaTeX, HTML, SVG, JNDI or a command of memcached": (
        "1.2.6 1.2.7 1.2.8 1.3.1 1.3.4 1.3.8 1.3.9"
    ),
    "Python manages memory": "1.4.1 1.4.3",
    "No XML is read": "1.5.1",
    "There is no front end: the one page, about the API, runs no script": "3.2.2 3.5.4 3.5.5 3.7.1 7.4.4 15.3.6",
    "There is no GraphQL and no WebSocket": "4.3.1 4.3.2 4.4.1 4.4.2 4.4.3 4.4.4",
    "No files are taken or given": "5.1.1 5.2.2 5.2.3 5.3.1 5.3.2 5.4.1 5.4.2 5.4.3",
    "There is no form for passwords; front ends should allow pasting and showing them": "6.2.6 6.2.7",
    "There are no messages by phone and no certificates of users": "6.6.1",
    "Nobody signs in by another provider": (
        "6.8.1 6.8.2 6.8.3 6.8.4 7.6.1 7.6.2 10.1.1 10.1.2 10.2.1 10.2.2 10.5.1 10.5.2 10.5.3 10.5.4 10.5.5"
    ),
    "There is no consent and no authorization code": (
        "10.4.1 10.4.2 10.4.3 10.4.6 10.4.7 10.6.1 10.6.2 10.7.1 10.7.2 10.7.3"
    ),
    "No key is made of a password": "11.4.4",
    "Nothing is stored in browsers": "14.3.1 14.3.3",
    "There is no WebRTC": "17.1.1 17.2.1 17.2.2 17.2.3 17.2.4 17.3.1 17.3.2",
}
"""Rows of levels 1 and 2 without a subject here, by the reason."""


@functools.cache
def marked_tests() -> dict[str, list[str]]:
    """Return the tests of each row that a marker names, as path and name, read from the sources."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(TESTS.rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text if "mark.asvs" in text else "")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for row in _rows_of(node):
                    found[row].append(f"{file.relative_to(TESTS.parent)}::{node.name}")
    return dict(found)


def _rows_of(function: ast.FunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        match decorator:
            case ast.Call(func=ast.Attribute(attr="asvs"), args=arguments):
                yield from (str(ast.literal_eval(argument)) for argument in arguments)


def in_order(rows: Iterable[str]) -> list[str]:
    """Sort *rows* as their numbers go."""
    return sorted(rows, key=lambda row: tuple(map(int, row.split("."))))


_CHAPTERS: Final = {
    "1": "Encoding and sanitization",
    "2": "Validation and business logic",
    "3": "Browsers",
    "4": "API",
    "5": "Files",
    "6": "Authentication",
    "7": "Sessions",
    "8": "Authorization",
    "9": "Self-contained tokens",
    "10": "OAuth",
    "11": "Cryptography",
    "12": "Communication",
    "13": "Configuration",
    "14": "Data protection",
    "15": "Code and architecture",
    "16": "Logs and errors",
}


def standing(row: Row, tests: Sequence[str]) -> str:
    """Say how *row* stands, given the *tests* that show it."""
    if tests:
        return f"in part: {row.short}" if row.short else "met"
    if row.page:
        link = row.page.removeprefix("reference/") if row.page.startswith("reference/") else f"../{row.page}"
        return f"said in [{row.page}]({link})"
    return f"left to {row.outside}" if row.outside else f"**not met**: {row.short}"


def _kind(row: Row, tests: Sequence[str]) -> str:
    if tests:
        return "in part" if row.short else "met"
    if row.page:
        return "said"
    return "left" if row.outside else "not met"


def asvs_reference() -> str:
    """Describe every row."""
    tests = marked_tests()
    blocks = [_summary(tests)]
    for chapter, title in _CHAPTERS.items():
        blocks.append(f"## {chapter}. {title}")
        rows = [row for row in in_order(ROWS) if row.partition(".")[0] == chapter]
        blocks.append(
            _table(
                ("row", "level", "what is done", "how it stands", "shown by"),
                [_line(row, tests.get(row, [])) for row in rows],
            )
        )
    blocks += ["## Without a subject", _table(("why", "rows"), NOT_APPLICABLE.items())]
    return "\n\n".join(blocks)


def _line(name: str, tests: Sequence[str]) -> tuple[str, ...]:
    row = ROWS[name]
    return name, str(row.level), row.claim, standing(row, tests), "<br>".join(map(_link, tests))


def _link(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[{file.removeprefix('tests/')}::{name}](../../{file})"


def _summary(tests: Mapping[str, Sequence[str]]) -> str:
    lines = []
    for level in (1, 2, 3):
        kinds = [_kind(row, tests.get(name, [])) for name, row in ROWS.items() if row.level == level]
        counts = (str(kinds.count(kind)) for kind in ("met", "in part", "said", "left", "not met"))
        lines.append((str(level), *counts))
    return _table(("level", "met", "in part", "said in a page", "left to others", "not met"), lines)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, tuple("---" for _ in head), *rows])
