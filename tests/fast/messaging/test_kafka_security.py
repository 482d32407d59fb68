"""What the clients are told of TLS and SASL, and what is wrong with the files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from click.testing import CliRunner
from kafka import KafkaProducer
from kafka.errors import KafkaConnectionError

from tests.servers.certificates import Authority
from userservice_core.cli import EXIT_CONFIGURATION, main
from userservice_core.errors import BusUnavailableError, ConfigurationError
from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity
from userservice_core.ports.bearer_tokens import BearerToken

if TYPE_CHECKING:
    from typing import NoReturn

_FILES: Final = KafkaSecurity(
    protocol="SASL_SSL",
    ca_file=Path("ca.pem"),
    certificate_file=Path("own.pem"),
    key_file=Path("own.key"),
    key_password="hunter2",
    mechanism="SCRAM-SHA-512",
    username="relay",
    password="hunter2",
)


def test_both_clients_are_told_the_same() -> None:
    """Each in its own words, which it knows."""
    assert _FILES.for_kafka_python() == {
        "security_protocol": "SASL_SSL",
        "ssl_cafile": "ca.pem",
        "ssl_certfile": "own.pem",
        "ssl_keyfile": "own.key",
        "ssl_password": "hunter2",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "relay",
        "sasl_plain_password": "hunter2",
    }
    assert _FILES.for_librdkafka() == {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "ca.pem",
        "ssl.certificate.location": "own.pem",
        "ssl.key.location": "own.key",
        "ssl.key.password": "hunter2",
        "ssl.endpoint.identification.algorithm": "https",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "relay",
        "sasl.password": "hunter2",
    }
    assert set(_FILES.for_kafka_python()) <= set(KafkaProducer.DEFAULT_CONFIG)
    assert "hunter2" not in repr(_FILES)


def test_without_any_there_is_no_tls_and_nobody() -> None:
    """As brokers are that listen to their own machine alone."""
    assert KafkaSecurity().for_kafka_python() == {"security_protocol": "PLAINTEXT"}
    assert KafkaSecurity().for_librdkafka() == {"security.protocol": "PLAINTEXT"}


def test_tokens_are_asked_for_when_they_are_needed() -> None:
    """By either client; one that cannot be had is a failure to connect."""
    expires_at = datetime(2030, 1, 1, tzinfo=UTC)
    good = KafkaSecurity(protocol="SASL_SSL", mechanism="OAUTHBEARER", token=lambda: BearerToken("t", expires_at))

    def none() -> NoReturn:
        raise BusUnavailableError("There is none.")

    bad = KafkaSecurity(protocol="SASL_SSL", mechanism="OAUTHBEARER", token=none)

    assert good.for_kafka_python()["sasl_oauth_token_provider"].token() == "t"
    assert good.for_librdkafka()["oauth_cb"]("") == ("t", expires_at.timestamp())
    with pytest.raises(KafkaConnectionError, match="There is none"):
        bad.for_kafka_python()["sasl_oauth_token_provider"].token()


def test_files_that_can_be_used_pass(tmp_path: Path) -> None:
    """Also where the key is encrypted, and in the same file as the certificate."""
    own = Authority.create(tmp_path).issue("own", host="relay.example.com", password="hunter2")

    KafkaSecurity(
        protocol="SSL", ca_file=tmp_path / "ca.pem", certificate_file=own, key_file=own, key_password="hunter2"
    ).check()


def test_files_that_cannot_be_used_are_all_named(tmp_path: Path) -> None:
    """In one line each, before anything is connected, and never by asking for a password on a terminal."""
    own = Authority.create(tmp_path).issue("own", host="relay.example.com", password="hunter2")
    (tmp_path / "junk.pem").write_text("junk")
    faulty = KafkaSecurity(protocol="SSL", ca_file=tmp_path / "junk.pem", certificate_file=own, key_file=own)

    with pytest.raises(ConfigurationError) as raised:
        faulty.check()

    first, second = raised.value.problems
    assert first.startswith(f"Kafka's CA certificates in '{tmp_path}/junk.pem' cannot be used: no ")
    assert second.startswith(f"The certificate for Kafka in '{own}' and its key in '{own}' cannot be used: ")
    assert "\n" not in first + second


def test_the_check_names_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    """With the exit code of a mistake in the settings, before anything is started."""
    (tmp_path / "junk.pem").write_text("junk")
    environment = {
        "USERSERVICE_PROFILE": "test",
        "USERSERVICE_ISSUER": "https://accounts.example.com",
        "USERSERVICE_DATABASE_URL": "postgresql://nobody@127.0.0.1/none",
        "USERSERVICE_KAFKA_SECURITY_PROTOCOL": "SSL",
        "USERSERVICE_KAFKA_CA_FILE": str(tmp_path / "junk.pem"),
    }

    result = CliRunner().invoke(main, ["check"], env=environment)

    (line,) = result.output.splitlines()
    assert result.exit_code == EXIT_CONFIGURATION
    assert line.startswith("userservice: Kafka's CA certificates in ")
