"""Mails that another service sends: what it reads from the bus is what the relay would have sent."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.consumer_suite import running, until
from tests.e2e.processes import settings_for
from userservice_core.bootstrap import bootstrap, bootstrap_relay, mail_reader, new_key_ring
from userservice_core.config import Settings
from userservice_core.errors import EventRejectedError
from userservice_core.http.messages import Request
from userservice_core.infrastructure.messaging.consumer import EventConsumer
from userservice_core.infrastructure.postgres.bus import PostgresEventGroup
from userservice_core.infrastructure.postgres.bus_events import PostgresEventSource

if TYPE_CHECKING:
    from pathlib import Path

    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.consuming import ConsumedEvent


def _post(path: str, body: dict[str, Any]) -> Request:
    headers = (("content-type", "application/json"),)
    return Request(method="POST", path=path, headers=headers, body=json.dumps(body).encode())


def test_whoever_holds_the_ring_can_send_the_mails(database: str, pool: Database, tmp_path: Path) -> None:
    """The link in it confirms the address; whoever does not hold the ring reads no token."""
    ring = new_key_ring()
    environment = settings_for(
        database, tmp_path, MAIL_URL="bus:", KEYRING=ring, ARGON2_MEMORY_KIB="64", ARGON2_TIME_COST="1"
    )
    settings = Settings.from_environment({name: text for name, text in environment.items() if "USERSERVICE_" in name})
    PostgresEventGroup(pool, group="mailer").register()
    source = PostgresEventSource(database, group="mailer", topics=["userservice.notifications"], member_id="m")
    consumer = EventConsumer(source)
    asked: list[ConsumedEvent] = []
    consumer.on("userservice.notification.requested.v1")(asked.append)
    stop = threading.Event()

    with bootstrap(settings, background=False) as service, bootstrap_relay(settings, relay_id="r") as relay:
        relaying = threading.Thread(target=relay.run, args=(stop,))
        relaying.start()
        try:
            account = {"email": "ada@example.com", "password": "correct horse battery staple"}
            assert service.pipeline.handle(_post("/auth/register", account)).status == 201
            with running(consumer):
                until(lambda: bool(asked), seconds=60)
        finally:
            stop.set()
            relaying.join()
        mail = mail_reader(keyring=ring, link_base="https://accounts.example.com/auth").read(asked[0])
        confirmed = service.pipeline.handle(_post("/auth/verify-email", {"token": mail.token}))

    assert (mail.to, str(mail.id)) == ("ada@example.com", asked[0].id)
    assert mail.link == f"https://accounts.example.com/auth/verify-email?token={mail.token}"
    assert mail.token is not None
    assert mail.token not in json.dumps(asked[0].data)
    assert confirmed.status == 200
    with pytest.raises(EventRejectedError):
        mail_reader(keyring=new_key_ring(), link_base="https://accounts.example.com/auth").read(asked[0])
