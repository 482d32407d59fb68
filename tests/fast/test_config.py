"""Settings are read from variables and files, and everything that is wrong with them is said at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.config import (
    HashingCost,
    LogFormat,
    Profile,
    ReplicaAddress,
    Settings,
    declaration_of,
    setting_fields,
    variable,
)
from userservice_core.errors import ConfigurationError

DSN = "postgresql://service:hunter2@database.example.com:5432/users"
LEAST = {"USERSERVICE_PROFILE": "test", "USERSERVICE_DATABASE_URL": DSN, "USERSERVICE_ISSUER": "https://a.example.com"}
PRODUCTION = {
    **LEAST,
    "USERSERVICE_PROFILE": "production",
    "USERSERVICE_KEYRING": "{}",
    "USERSERVICE_MAIL_URL": "smtps://mail.example.com",
}
FIELDS = setting_fields()


def problems_of(environ: dict[str, str]) -> tuple[str, ...]:
    """Return what is said about *environ*; nothing if it is accepted."""
    try:
        Settings.from_environment(environ)
    except ConfigurationError as error:
        return error.problems
    return ()


def setting(name: str, text: str) -> Any:  # noqa: ANN401 - of any setting
    """Return the value that a setting has when its variable holds *text*."""
    return getattr(Settings.from_environment({**LEAST, f"USERSERVICE_{name.upper()}": text}), name)


def test_the_least_settings_suffice_and_the_rest_has_defaults() -> None:
    """Address of the database and issuer are all that an installation outside production must choose."""
    settings = Settings.from_environment(LEAST)

    assert settings.database_url == DSN
    assert settings.issuer == "https://a.example.com"
    assert settings.profile is Profile.TEST
    assert settings.port == 8000
    assert settings.kafka_bootstrap_servers == ()
    assert settings.link_base == settings.issuer


def test_what_is_not_said_to_be_otherwise_is_production() -> None:
    """Forgetting the profile gives the strict one."""
    del (environ := dict(PRODUCTION))["USERSERVICE_PROFILE"]

    assert Settings.from_environment(environ).profile is Profile.PRODUCTION


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping, the variables of the process are read."""
    for name, value in LEAST.items():
        monkeypatch.setenv(name, value)

    assert Settings.from_environment().database_url == DSN


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "8443", 8443),
        ("database_pool_timeout_seconds", "0.5", 0.5),
        ("expose_metrics", "TRUE", True),
        ("expose_metrics", "no", False),
        ("host", "::1", "::1"),
        ("host", "localhost", "localhost"),
        ("log_level", "debug", "DEBUG"),
        ("log_format", "console", LogFormat.CONSOLE),
        ("kafka_bootstrap_servers", "k1:9092, k2:9092,", ("k1:9092", "k2:9092")),
        ("database_replica_urls", "postgresql://r1/u,postgres://r2/u", ("postgresql://r1/u", "postgres://r2/u")),
        ("public_url", "https://a.example.com/app/", "https://a.example.com/app"),
        ("data_dir", "/var/lib/userservice", Path("/var/lib/userservice")),
        ("failpoint", "uow.before-commit:3", "uow.before-commit:3"),
        ("mail_url", "smtp+starttls://u:p@mail.example.com:587", "smtp+starttls://u:p@mail.example.com:587"),
        ("mail_url", "console:", "console:"),
        ("mail_url", "bus:", "bus:"),
        ("cache_url", "rediss://:secret@cache.example.com:6380/0", "rediss://:secret@cache.example.com:6380/0"),
        ("topic_prefix", "staging.userservice.", "staging.userservice."),
        ("port", "", 8000),
    ],
)
def test_a_value_is_read_as_what_it_means(name: str, text: str, value: object) -> None:
    """Text becomes numbers, switches, lists and addresses; an empty variable counts as not given."""
    assert setting(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("profile", "prod"),
        ("port", "0"),
        ("port", "65536"),
        ("port", "8e3"),
        ("port", "٨٠٠٠"),
        ("port", " 8000"),
        ("workers", "-1"),
        ("database_pool_timeout_seconds", "nan"),
        ("database_pool_timeout_seconds", "1e9"),
        ("expose_metrics", "maybe"),
        ("host", "example.com"),
        ("issuer", "accounts.example.com"),
        ("issuer", "https://"),
        ("issuer", "https://a.example.com:99999"),
        ("issuer", "https://[::1"),
        ("issuer", "https://user@a.example.com"),
        ("issuer", "https://a.example.com?a=1"),
        ("issuer", "https://a.example\n.com"),
        ("public_url", "https://a.example.com/#app"),
        ("audience", "   "),
        ("kafka_bootstrap_servers", "k1:9092,k2"),
        ("kafka_bootstrap_servers", "k1:0"),
        ("kafka_bootstrap_servers", ":9092"),
        ("mail_from", "nobody"),
        ("topic_prefix", "with space"),
        ("failpoint", "uow.before-commit"),
        ("log_level", "LOUD"),
        ("log_format", "xml"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_what_is_expected(name: str, text: str) -> None:
    """The line holds the variable, the value and what is expected."""
    variable_name = f"USERSERVICE_{name.upper()}"
    expected = declaration_of(getattr(attrs.fields(Settings), name)).expected

    assert problems_of({**LEAST, variable_name: text}) == (
        f"{variable_name} has a value {text!r} that cannot be used: expected {expected}",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("database_url", "mysql://u:hunter2@h/db"),
        ("database_replica_urls", "postgresql://h/db,mysql://u:hunter2@h/db"),
        ("database_direct_url", "hunter2"),
        ("cache_url", "memcached://u:hunter2@h"),
        ("mail_url", "imap://u:hunter2@h"),
    ],
)
def test_a_secret_that_cannot_be_used_is_not_repeated(name: str, text: str) -> None:
    """The line names the variable and what is expected, and nothing of the value."""
    (problem,) = problems_of({**LEAST, f"USERSERVICE_{name.upper()}": text})

    assert problem.startswith(f"USERSERVICE_{name.upper()} has a value that cannot be used: expected ")
    assert "hunter2" not in problem


def test_an_address_of_a_replica_says_where_it_is_and_what_it_takes() -> None:
    """What is not ours is libpq's, in its order and as it was written."""
    read = setting(
        "database_replica_urls", "postgresql://u:p%40@r1:5432/db?sslmode=require&zone=eu-1a&weight=3&options=-c%20a"
    )
    settings = attrs.evolve(
        Settings.from_environment(LEAST), database_replica_urls=(*read, "postgres://r2/db?position=none")
    )

    assert settings.replicas == (
        ReplicaAddress(dsn="postgresql://u:p%40@r1:5432/db?sslmode=require&options=-c%20a", zone="eu-1a", weight=3),
        ReplicaAddress(dsn="postgres://r2/db", tells_position=False),
    )
    assert "p%40" not in repr(settings.replicas)


def test_every_fault_of_every_replica_is_said_at_once() -> None:
    """By its number, since its address may hold a secret."""
    addresses = (
        "postgresql://u:hunter2@r1/db?weight=-1&zone=",
        "postgresql://r2/db?weight=1001&position=perhaps",
        "postgresql://r3/db?zone=a&zone=b",
        "postgresql://r4/db",
        "postgresql://r4/db",
    )
    name = "USERSERVICE_DATABASE_REPLICA_URLS"

    assert problems_of({**LEAST, name: ",".join(addresses)}) == (
        f"{name}, number 1: zone is not a name and weight is not a whole number from 0 to 1000",
        f"{name}, number 2: weight is not a whole number from 0 to 1000 and position is not none",
        f"{name}, number 3: zone is given twice",
        f"{name}, number 5: the address is given twice",
    )


def test_everything_that_is_wrong_is_said_at_once() -> None:
    """Missing, faulty, unknown and contradicting settings make one list."""
    problems = problems_of(
        {
            "USERSERVICE_ISSUER": "http://a.example.com",
            "USERSERVICE_PORT": "http",
            "USERSERVICE_WORKRES": "4",
            "USERSERVICE_FAILPOINT": "uow.begun:1",
            "USERSERVICE_SESSION_IDLE_DAYS": "100",
        }
    )

    assert [problem.partition(" ")[0] for problem in problems] == [
        "USERSERVICE_DATABASE_URL",
        "USERSERVICE_PORT",
        "USERSERVICE_WORKRES",
        "USERSERVICE_KEYRING",
        "USERSERVICE_MAIL_URL",
        "USERSERVICE_FAILPOINT",
        "USERSERVICE_ISSUER",
        "USERSERVICE_SESSION_IDLE_DAYS",
    ]


def test_a_misspelt_setting_is_refused_with_the_name_that_was_meant() -> None:
    """A setting that would be ignored is a fault; one like no other is named without a guess."""
    assert problems_of({**LEAST, "USERSERVICE_DATABASE_POOLSIZE": "8", "USERSERVICE_XYZ": "1", "OTHER_PORT": "1"}) == (
        "USERSERVICE_DATABASE_POOLSIZE is not a setting: did you mean USERSERVICE_DATABASE_POOL_SIZE?",
        "USERSERVICE_XYZ is not a setting",
    )


def test_a_setting_without_a_secret_takes_no_file() -> None:
    """Files are for secrets; elsewhere the suffix is a mistake."""
    assert problems_of({**LEAST, "USERSERVICE_PORT_FILE": "/run/port"}) == (
        "USERSERVICE_PORT_FILE is not a setting: only secrets are read from files",
    )


def test_variables_that_kubernetes_adds_are_named_once_with_the_way_out() -> None:
    """A Service called userservice puts its address into every container, under names that look like settings."""
    problems = problems_of(
        {
            **LEAST,
            "USERSERVICE_PORT": "tcp://10.0.0.1:80",
            "USERSERVICE_SERVICE_HOST": "10.0.0.1",
            "USERSERVICE_SERVICE_PORT_HTTP": "80",
            "USERSERVICE_PORT_80_TCP_ADDR": "10.0.0.1",
        }
    )

    assert len(problems) == 1
    assert "enableServiceLinks: false" in problems[0]


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.asvs("13.3.1")
def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    """The line end that editors add is no part of the secret."""
    file = tmp_path / "database"
    file.write_text(f"{DSN}\n")
    environ = {"USERSERVICE_PROFILE": "test", "USERSERVICE_ISSUER": "https://a.example.com"}

    assert Settings.from_environment({**environ, "USERSERVICE_DATABASE_URL_FILE": str(file)}).database_url == DSN


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    """Which of the two counts would be a guess; that the setting is missing is not said on top of it."""
    assert problems_of({**PRODUCTION, "USERSERVICE_KEYRING_FILE": str(tmp_path)}) == (
        "USERSERVICE_KEYRING and USERSERVICE_KEYRING_FILE are both set: give one of them",
    )


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (None, "absent", "No such file or directory"),
        (b"\xff\xfe", "binary", "not text in UTF-8"),
        (None, "", "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, name: str, reason: str
) -> None:
    """The line names the variable, the path and the reason, and the setting is not called missing as well."""
    path = f"{tmp_path}/{name}"
    if content is not None:
        Path(path).write_bytes(content)

    assert problems_of({**LEAST, "USERSERVICE_DATABASE_URL": "", "USERSERVICE_DATABASE_URL_FILE": path}) == (
        f"USERSERVICE_DATABASE_URL_FILE names {path!r}, which cannot be read: {reason}",
    )


@pytest.mark.parametrize("secret", [DSN, '{"version": 1, "secretKeys": ["hunter2"]}', "hunter2"])
def test_a_secret_given_in_place_of_its_file_is_not_repeated(secret: str) -> None:
    """The mistake is easily made, and what is said about it ends in logs."""
    (problem,) = problems_of({**LEAST, "USERSERVICE_KEYRING_FILE": secret})

    assert problem.startswith("USERSERVICE_KEYRING_FILE names a file that cannot be read: ")
    assert "hunter2" not in problem


def test_an_empty_file_holds_no_secret(tmp_path: Path) -> None:
    """A secret that was mounted empty is refused, not taken for one that is not given."""
    file = tmp_path / "keyring"
    file.write_text("\n")

    assert problems_of({**LEAST, "USERSERVICE_KEYRING_FILE": str(file)}) == (
        "USERSERVICE_KEYRING has a value that cannot be used: expected a text that is not empty",
    )


# --- between settings ---------------------------------------------------------------------------------------------


@pytest.mark.asvs("13.2.3", "13.4.2")
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"USERSERVICE_KEYRING": ""}, "USERSERVICE_KEYRING is missing"),
        ({"USERSERVICE_MAIL_URL": ""}, "USERSERVICE_MAIL_URL is console"),
        ({"USERSERVICE_MAIL_URL": "console:"}, "USERSERVICE_MAIL_URL is console"),
        ({"USERSERVICE_FAILPOINT": "uow.begun:1"}, "USERSERVICE_FAILPOINT is set"),
        ({"USERSERVICE_ISSUER": "http://a.example.com"}, "USERSERVICE_ISSUER is 'http://a.example.com'"),
        ({"USERSERVICE_PUBLIC_URL": "http://a.example.com"}, "USERSERVICE_PUBLIC_URL is 'http://a.example.com'"),
    ],
)
def test_production_demands_more(changes: dict[str, str], problem: str) -> None:
    """What would be a hole in a public installation does not start there, and does elsewhere."""
    (found,) = problems_of({**PRODUCTION, **changes})

    assert found.startswith(f"{problem}: in production ")
    assert problems_of({**PRODUCTION, **changes, "USERSERVICE_PROFILE": "development"}) == ()


def test_a_profile_that_cannot_be_read_is_not_taken_for_production() -> None:
    """One mistake gives one line."""
    assert len(problems_of({**LEAST, "USERSERVICE_PROFILE": "staging"})) == 1


def test_a_session_cannot_rest_longer_than_it_lasts() -> None:
    """Of two limits that contradict each other, both are named."""
    assert problems_of({**LEAST, "USERSERVICE_SESSION_ABSOLUTE_DAYS": "7"}) == (
        "USERSERVICE_SESSION_IDLE_DAYS is 14: expected no more than USERSERVICE_SESSION_ABSOLUTE_DAYS=7",
    )


_SASL = {"USERSERVICE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
_OAUTH = {**_SASL, "USERSERVICE_KAFKA_SASL_MECHANISM": "OAUTHBEARER"}
_BY_URL = {
    "USERSERVICE_KAFKA_OAUTH_TOKEN_URL": "https://login.example.com/token",
    "USERSERVICE_KAFKA_OAUTH_CLIENT_ID": "relay",
    "USERSERVICE_KAFKA_OAUTH_CLIENT_SECRET": "s",
}


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        (_SASL, ("SASL_MECHANISM",)),
        ({**_SASL, "USERSERVICE_KAFKA_SASL_MECHANISM": "PLAIN"}, ("SASL_USERNAME", "SASL_PASSWORD")),
        (_OAUTH, ("OAUTH_TOKEN_FILE or USERSERVICE_KAFKA_OAUTH_TOKEN_URL",)),
        (
            {**_OAUTH, "USERSERVICE_KAFKA_OAUTH_TOKEN_URL": "https://login.example.com/token"},
            ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET"),
        ),
        ({"USERSERVICE_KAFKA_SECURITY_PROTOCOL": "SSL", "USERSERVICE_KAFKA_KEY_FILE": __file__}, ("CERTIFICATE_FILE",)),
        ({"USERSERVICE_KAFKA_SECURITY_PROTOCOL": "SSL", "USERSERVICE_KAFKA_CERTIFICATE_FILE": __file__}, ("KEY_FILE",)),
        ({**_OAUTH, **_BY_URL}, ()),
        ({**_OAUTH, "USERSERVICE_KAFKA_OAUTH_TOKEN_FILE": "/run/token"}, ()),
        ({"USERSERVICE_KAFKA_SECURITY_PROTOCOL": "SSL", "USERSERVICE_KAFKA_CA_FILE": __file__}, ()),
    ],
)
def test_what_is_missing_to_sign_in_at_the_brokers_is_named(changes: dict[str, str], missing: tuple[str, ...]) -> None:
    """All at once."""
    problems = problems_of({**LEAST, **changes})

    assert [problem.partition(" is missing: ")[0] for problem in problems] == [
        f"USERSERVICE_KAFKA_{name}" for name in missing
    ]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"USERSERVICE_KAFKA_CA_FILE": __file__}, "CA_FILE"),
        ({"USERSERVICE_KAFKA_SASL_PASSWORD": "hunter2"}, "SASL_PASSWORD"),
        ({**_OAUTH, **_BY_URL, "USERSERVICE_KAFKA_SASL_USERNAME": "relay"}, "SASL_USERNAME"),
        ({**_OAUTH, **_BY_URL, "USERSERVICE_KAFKA_OAUTH_TOKEN_FILE": "/run/token"}, "OAUTH_TOKEN_FILE"),
    ],
)
def test_what_is_given_for_the_brokers_in_vain_is_named(changes: dict[str, str], name: str) -> None:
    """Whoever sets a password and forgets the protocol would send events in the clear without knowing."""
    (problem,) = problems_of({**LEAST, **changes})

    assert problem.startswith(f"USERSERVICE_KAFKA_{name} is given, and of no use with USERSERVICE_KAFKA_SECURITY")
    assert "hunter2" not in problem


def test_what_is_wrong_with_the_brokers_files_and_the_token_endpoint_is_named() -> None:
    """Beside everything else."""
    problems = problems_of(
        {
            **LEAST,
            **_OAUTH,
            **_BY_URL,
            "USERSERVICE_KAFKA_OAUTH_TOKEN_URL": "http://login.example.com/token",
            "USERSERVICE_KAFKA_CA_FILE": "/nowhere/ca.pem",
        }
    )

    assert list(problems) == [
        "USERSERVICE_KAFKA_CA_FILE names '/nowhere/ca.pem', which cannot be read: No such file or directory",
        (
            "USERSERVICE_KAFKA_OAUTH_TOKEN_URL is 'http://login.example.com/token': expected https:// for another"
            " machine, or it could be anybody"
        ),
    ]


_RENAMED = "userservice.users=userservice.users.v2"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (_RENAMED, None),
        ("userservice.user=u", "names 'userservice.user': expected one of userservice.access, userservice.auth"),
        ("userservice.notifications=n", "names 'userservice.notifications': expected one of"),
        (f"{_RENAMED},userservice.users=u3", "names a topic twice"),
        (f"{_RENAMED},userservice.auth=userservice.users.v2", "names a topic twice"),
        ("userservice.users=userservice.auth", "names a topic twice"),
        ("userservice.users", "expected topic=name, with commas between them"),
        ("userservice.users=a b", "expected topic=name, with commas between them"),
    ],
)
def test_a_topic_has_one_name(names: str, reason: str | None) -> None:
    """Of its own; and only what events go to can have another."""
    problems = problems_of({**LEAST, "USERSERVICE_KAFKA_TOPIC_NAMES": names})

    assert len(problems) == (reason is not None)
    assert all(str(reason) in problem for problem in problems)
    if reason is None:
        settings = Settings.from_environment({**LEAST, "USERSERVICE_KAFKA_TOPIC_NAMES": names})
        assert settings.renamed_topics == {"userservice.users": "userservice.users.v2"}


def test_no_more_brokers_must_have_an_event_than_are_to_hold_it() -> None:
    """Or nothing could be published."""
    replicas = {"USERSERVICE_KAFKA_TOPIC_REPLICAS": "2", "USERSERVICE_KAFKA_TOPIC_MIN_INSYNC_REPLICAS": "3"}

    (problem,) = problems_of({**LEAST, **replicas})

    assert problem.startswith("USERSERVICE_KAFKA_TOPIC_MIN_INSYNC_REPLICAS is 3: expected no more than")


def test_production_shows_its_broker_password_to_nobody() -> None:
    """PLAIN and OAUTHBEARER send the secret as it is; SCRAM does not."""
    sasl = {
        "USERSERVICE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "USERSERVICE_KAFKA_SASL_USERNAME": "relay",
        "USERSERVICE_KAFKA_SASL_PASSWORD": "s",
    }

    plain = problems_of({**PRODUCTION, **sasl, "USERSERVICE_KAFKA_SASL_MECHANISM": "PLAIN"})
    scram = problems_of({**PRODUCTION, **sasl, "USERSERVICE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-256"})

    assert len(plain) == 1
    assert "expected SASL_SSL" in plain[0]
    assert list(scram) == []


@pytest.mark.asvs("3.4.2")
def test_cookies_are_not_let_in_from_everywhere() -> None:
    """Whoever allows all origins cannot allow credentials, which browsers would refuse and nobody should want."""
    everyone = {**LEAST, "USERSERVICE_CORS_ALLOWED_ORIGINS": "*"}
    assert problems_of(everyone) == ()
    assert problems_of({**everyone, "USERSERVICE_CORS_ALLOW_CREDENTIALS": "true"}) == (
        "USERSERVICE_CORS_ALLOW_CREDENTIALS is true: expected false where USERSERVICE_CORS_ALLOWED_ORIGINS has *",
    )


def test_a_cookie_that_no_browser_keeps_is_no_way_for_refresh_tokens() -> None:
    """Browsers keep it over https only, but for this machine, and compare hosts as they write them."""
    wanted = {**LEAST, "USERSERVICE_REFRESH_TOKEN_COOKIE": "true"}
    blame = "USERSERVICE_REFRESH_TOKEN_COOKIE is true: expected USERSERVICE_ISSUER"
    assert problems_of({**wanted, "USERSERVICE_ISSUER": "https://accounts.example.com"}) == ()
    assert problems_of({**wanted, "USERSERVICE_ISSUER": "http://localhost:8000"}) == ()
    assert problems_of({**wanted, "USERSERVICE_ISSUER": "http://accounts.example.com"}) == (
        f"{blame} to begin with https://, or no browser keeps the cookie",
    )
    assert problems_of({**wanted, "USERSERVICE_ISSUER": "https://konten.müller.example"}) == (
        f"{blame} with the host as browsers write it, in ASCII",
    )


@pytest.mark.asvs("3.4.2")
@pytest.mark.parametrize(
    "origin", ["null", "app.example.com", "https://app.example.com/", "https://App.example.com", "https://u@a.example"]
)
def test_an_origin_is_given_as_browsers_say_it(origin: str) -> None:
    """One that no browser sends would allow nobody, and nobody would see why."""
    origins = f"https://app.example.com,{origin}"
    (problem,) = problems_of({**LEAST, "USERSERVICE_CORS_ALLOWED_ORIGINS": origins})
    assert problem.startswith("USERSERVICE_CORS_ALLOWED_ORIGINS has a value")


# --- showing ------------------------------------------------------------------------------------------------------


def test_what_is_shown_holds_every_setting_and_no_secret() -> None:
    """Of an address all but the password helps whoever looks for a mistake; of other secrets nothing does."""
    settings = Settings.from_environment(
        {
            **PRODUCTION,
            "USERSERVICE_KEYRING": '{"keys": "hunter2"}',
            "USERSERVICE_CACHE_URL": "redis://:hunter2@cache.example.com:6379/0",
            "USERSERVICE_MAIL_URL": "smtp://mailer:hunter2@mail.example.com",
            "USERSERVICE_DATABASE_REPLICA_URLS": f"{DSN},postgresql://r2/users?sslmode=require&password=hunter2",
            "USERSERVICE_KAFKA_BOOTSTRAP_SERVERS": "k1:9092,k2:9092",
            "USERSERVICE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "USERSERVICE_KAFKA_SASL_MECHANISM": "PLAIN",
            "USERSERVICE_KAFKA_SASL_USERNAME": "relay",
            "USERSERVICE_KAFKA_SASL_PASSWORD": "hunter2",
        }
    )

    shown = dict(settings.masked())

    assert list(shown) == [variable(field) for field in FIELDS]
    assert shown["USERSERVICE_DATABASE_URL"] == "postgresql://service:********@database.example.com:5432/users"
    assert shown["USERSERVICE_KEYRING"] == "********"
    assert shown["USERSERVICE_KAFKA_BOOTSTRAP_SERVERS"] == "k1:9092,k2:9092"
    assert shown["USERSERVICE_EXPOSE_METRICS"] == "false"
    assert shown["USERSERVICE_FAILPOINT"] == ""
    assert "hunter2" not in str(shown)
    assert "hunter2" not in repr(settings)


@given(st.text(st.characters(codec="utf-8", exclude_characters=","), min_size=12, max_size=40))
def test_no_password_is_shown_however_it_is_written(password: str) -> None:
    """Also one with signs that a URL would have encoded is masked as a whole."""
    marked = f"hunter2{password}hunter2"
    settings = attrs.evolve(Settings.from_environment(LEAST), database_url=f"postgresql://u:{marked}@h/db")

    shown = dict(settings.masked())["USERSERVICE_DATABASE_URL"]

    assert shown == "postgresql://u:********@h/db"


@given(
    st.dictionaries(
        st.sampled_from([variable(field) for field in FIELDS] + ["USERSERVICE_KEYRING_FILE", "USERSERVICE_OTHER"]),
        st.text() | st.integers().map(str) | st.sampled_from(["test", "http://", "smtp://h:x", "true", "1.5", "/"]),
    )
)
def test_any_text_gives_settings_or_lines(environ: dict[str, str]) -> None:
    """Whatever the variables hold, reading them ends in settings or in problems that are one line each."""
    problems = problems_of(environ)

    assert all("\n" not in problem and problem.startswith("USERSERVICE_") for problem in problems)


SECRETS = [variable(field) for field in FIELDS if declaration_of(field).is_secret]


@pytest.mark.asvs("13.3.1")
@given(
    st.dictionaries(st.sampled_from([*SECRETS, *(f"{name}_FILE" for name in SECRETS)]), st.integers(0, 5), min_size=1),
    st.text(st.characters(codec="utf-8"), max_size=10),
    st.sampled_from(["", "test", "production"]),
)
def test_no_line_repeats_a_secret(given: dict[str, int], salt: str, profile: str) -> None:
    """Whether a secret is unfit, given twice, or put where its file is expected: its value is in no line."""
    secret = f"hunter2{salt}"
    forms = [
        secret,
        f"postgresql://u:{secret}@h/db",
        f"https://{secret}",
        f"smtp://u:{secret}@h:x",
        f"{secret}://",
        "/",
    ]
    environ = {name: forms[form] for name, form in given.items()}

    problems = problems_of({**environ, "USERSERVICE_PROFILE": profile})

    assert "hunter2" not in "".join(problems)


def test_settings_cannot_be_changed() -> None:
    """What was validated stays as it was."""
    settings = Settings.from_environment(LEAST)

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "field", [field for field in FIELDS if field.default not in {attrs.NOTHING, None, ()}], ids=lambda field: field.name
)
def test_every_default_is_within_its_own_bounds(field: attrs.Attribute[Any]) -> None:
    """A default can be given as text, and means the same then."""
    default = field.default

    assert declaration_of(field).parse(str(default).lower() if isinstance(default, bool) else str(default)) == default


def test_a_profile_says_what_hashing_costs() -> None:
    """What is given beside it takes the place of one of its parameters."""
    of_profile = Settings.from_environment({**LEAST, "USERSERVICE_PASSWORD_HASHING": "high"})
    mixed = Settings.from_environment(
        {**LEAST, "USERSERVICE_PASSWORD_HASHING": "high", "USERSERVICE_ARGON2_MEMORY_KIB": "100000"}
    )

    assert Settings.from_environment(LEAST).hashing_cost == HashingCost(19_456, 2, 1)
    assert of_profile.hashing_cost == HashingCost(65_536, 3, 1)
    assert mixed.hashing_cost == HashingCost(100_000, 3, 1)


@pytest.mark.asvs("11.4.2")
@pytest.mark.parametrize(
    ("given", "is_enough"),
    [
        ({}, True),
        ({"PASSWORD_HASHING": "minimum"}, True),
        ({"ARGON2_TIME_COST": "1"}, False),
        ({"ARGON2_MEMORY_KIB": "7168"}, False),
        ({"ARGON2_MEMORY_KIB": "4096", "ARGON2_TIME_COST": "100"}, False),
        ({"ARGON2_MEMORY_KIB": "47104", "ARGON2_TIME_COST": "1"}, True),
    ],
)
def test_production_hashes_with_enough_work(given: dict[str, str], is_enough: bool) -> None:  # noqa: FBT001
    """Less than the least profile is refused there, and there alone."""
    variables = {f"USERSERVICE_{name}": value for name, value in given.items()}
    problems = problems_of({**PRODUCTION, **variables})

    assert is_enough == (problems == ())
    assert all("costs too little" in problem for problem in problems)
    assert problems_of({**LEAST, **variables}) == ()


@pytest.mark.parametrize(
    ("url", "is_taken"),
    [
        ("https://passwords.example.com/range", True),
        ("http://127.0.0.1:8080/range", True),
        ("http://localhost/range", True),
        ("http://passwords.example.com/range", False),
    ],
)
def test_leaked_passwords_are_asked_for_where_nobody_is_in_between(url: str, is_taken: bool) -> None:  # noqa: FBT001
    """Over https, or on this machine."""
    problems = problems_of({**LEAST, "USERSERVICE_BREACH_CHECK": "fail-open", "USERSERVICE_BREACH_CHECK_URL": url})

    assert is_taken == (problems == ())


def test_what_everybody_knows_of_the_service_is_no_password() -> None:
    """The issuer's host and its parts, the audience, and what the settings name."""
    settings = Settings.from_environment(
        {**LEAST, "USERSERVICE_AUDIENCE": "our-api", "USERSERVICE_PASSWORD_CONTEXT_WORDS": "Contoso Travel, Fabrikam"}
    )

    assert {"a.example.com", "example", "our-api", "Contoso Travel", "Fabrikam"} <= set(settings.service_words)
