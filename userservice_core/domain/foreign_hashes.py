"""Password hashes of other systems, where their form is not a text that says how they were made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from userservice_core.errors import Fault, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PBKDF2: Final = {"pbkdf2": "sha1", "pbkdf2-sha256": "sha256", "pbkdf2-sha512": "sha512"}
_ARGON2_VERSIONS: Final = {"1.0": 16, "1.3": 19}
_ARGON2_TYPES: Final = ("id", "i", "d")


def phc_of_keycloak(credential_data: Mapping[str, Any], secret_data: Mapping[str, Any]) -> str:
    """
    Put a password of Keycloak into one text, in PHC string format.

    Args:
        credential_data: How it was made: ``{"hashIterations": …, "algorithm": …, "additionalParameters": …}``.
        secret_data: What was made: ``{"value": …, "salt": …}`` in base64.

    Raises:
        InvalidInputError: If it was made by another algorithm than PBKDF2 and Argon2, or is incomplete.
    """
    try:
        salt, digest = (secret_data[name].rstrip("=") for name in ("salt", "value"))
        algorithm, iterations = credential_data["algorithm"], int(credential_data["hashIterations"])
        if algorithm == "argon2":
            return _argon2(credential_data["additionalParameters"], iterations, salt, digest)
        return f"$pbkdf2-{_PBKDF2[algorithm]}$i={iterations}${salt}${digest}"
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        fault = Fault(("keycloak",), "unknown-hash", "Expected a password of Keycloak by PBKDF2 or Argon2.")
        raise InvalidInputError((fault,)) from error


def _argon2(parameters: Mapping[str, Any], passes: int, salt: str, digest: str) -> str:
    # Each is a list of one text.
    kind, memory, lanes = (parameters[name][0] for name in ("type", "memory", "parallelism"))
    version = _ARGON2_VERSIONS[parameters["version"][0]]
    if kind not in _ARGON2_TYPES:
        raise ValueError
    return f"$argon2{kind}$v={version}$m={int(memory)},t={passes},p={int(lanes)}${salt}${digest}"
