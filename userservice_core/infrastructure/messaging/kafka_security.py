"""How Kafka's brokers are spoken to: over TLS or not, and by whom; in the words of either client library."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import attrs

from userservice_core.errors import BusUnavailableError, ConfigurationError, UserServiceError
from userservice_core.ports.bearer_tokens import BearerTokenSource


@attrs.frozen(kw_only=True)
class KafkaSecurity:
    """
    What a connection to the brokers takes.

    Attributes:
        protocol: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
        ca_file: Whom to believe who the brokers are, in PEM; those of the system if not given.
        certificate_file: Our own certificate and its chain, in PEM, for brokers that want one.
        key_file: Its private key, in PEM.
        key_password: What that is encrypted with, if it is.
        mechanism: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`, where the protocol has SASL.
        username: For PLAIN and SCRAM.
        password: For PLAIN and SCRAM.
        token: For OAUTHBEARER. It is called on a thread of the client, which waits for it.
    """

    protocol: str = "PLAINTEXT"
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = attrs.field(default=None, repr=False)
    mechanism: str | None = None
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    token: BearerTokenSource | None = None

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection is over TLS."""
        return self.protocol in {"SSL", "SASL_SSL"}

    def check(self) -> None:
        """
        Read the certificates and the key, as every connection will.

        Raises:
            ConfigurationError: Naming the files that cannot be used.
        """
        if self.is_encrypted:
            self.tls()

    def tls(self) -> ssl.SSLContext:
        """
        Return how TLS is spoken: from 1.2 on, with a broker whose certificate is trusted and has its name.

        Raises:
            ConfigurationError: Naming the files that cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        problems = []
        if self.ca_file is None:
            context.load_default_certs()
        else:
            try:
                context.load_verify_locations(self.ca_file)
            except OSError as error:
                problems.append(f"Kafka's CA certificates in {str(self.ca_file)!r} cannot be used: {_reason(error)}")
        if self.certificate_file is not None:
            # Without a password given, nobody must be asked for one on the terminal.
            try:
                context.load_cert_chain(self.certificate_file, self.key_file, self.key_password or "")
            except OSError as error:
                problems.append(
                    f"The certificate for Kafka in {str(self.certificate_file)!r} and its key in"
                    f" {str(self.key_file)!r} cannot be used: {_reason(error)}"
                )
        if problems:
            raise ConfigurationError(tuple(problems))
        return context

    def shake_hands(self, server: str, *, patience_seconds: float) -> None:
        """
        Connect to a broker, over TLS where it is wanted, and close again; and see whether there is a token.

        The libraries do not say clearly what is wrong there, and leave sockets open.

        Args:
            server: `host:port`.
            patience_seconds: For the connection, and for each step of TLS.

        Raises:
            BusUnavailableError: If that fails; it says why.
        """
        host, _, port = server.rpartition(":")
        host = host.strip("[]")
        try:
            if self.token is not None:
                self.token()
            with socket.create_connection((host, int(port)), patience_seconds) as connected:
                if self.is_encrypted:
                    self.tls().wrap_socket(connected, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            told = f"The certificate of {server} cannot be believed: {error.verify_message.rstrip('.')}."
            raise BusUnavailableError(told) from error
        except ssl.SSLError as error:
            raise BusUnavailableError(f"TLS with {server} failed: {_reason(error)}.") from error
        except ConfigurationError as error:
            raise BusUnavailableError(" ".join(error.problems)) from error
        except OSError as error:
            raise BusUnavailableError(f"{server} takes no connections: {error.strerror or error}.") from error

    def for_kafka_python(self) -> dict[str, Any]:
        """Return the settings of a client of kafka-python."""
        settings: dict[str, Any] = {"security_protocol": self.protocol}
        if self.is_encrypted:
            settings |= {
                "ssl_cafile": _text(self.ca_file),
                "ssl_certfile": _text(self.certificate_file),
                "ssl_keyfile": _text(self.key_file),
                "ssl_password": self.key_password,
            }
        if self.mechanism is not None:
            settings |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        if self.token is not None:
            settings["sasl_oauth_token_provider"] = _provider(self.token)
        return settings

    def for_librdkafka(self) -> dict[str, Any]:
        """Return the settings of a client of confluent-kafka."""
        named: dict[str, Any] = {"security.protocol": self.protocol}
        if self.is_encrypted:
            named |= {
                "ssl.ca.location": _text(self.ca_file),
                "ssl.certificate.location": _text(self.certificate_file),
                "ssl.key.location": _text(self.key_file),
                "ssl.key.password": self.key_password,
                "ssl.endpoint.identification.algorithm": "https",
            }
        named |= {
            "sasl.mechanism": self.mechanism,
            "sasl.username": self.username,
            "sasl.password": self.password,
        }
        if (source := self.token) is not None:

            def give_token(_config: str) -> tuple[str, float]:
                token = source()
                return token.text, token.expires_at.timestamp()

            named["oauth_cb"] = give_token
        return {name: value for name, value in named.items() if value is not None}


def _provider(source: BearerTokenSource) -> object:
    """Return a source of tokens as kafka-python wants it."""
    from kafka.errors import KafkaConnectionError
    from kafka.net.sasl.oauth import AbstractTokenProvider

    class Provider(AbstractTokenProvider):  # type: ignore[misc]
        def token(self) -> str:
            try:
                return source().text
            except UserServiceError as error:
                raise KafkaConnectionError(f"there is no token: {error.detail}") from error

    return Provider()


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _reason(error: OSError) -> str:
    """Say why in words of one line, without the numbers of OpenSSL's own source."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM, or of another key").replace("_", " ").lower()
    return error.strerror or type(error).__name__
