"""Fills the database of the application."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from flask_security import hash_password

from benchmarks.peers.agreed import PASSWORD, Signed, emails, tell_accounts
from benchmarks.peers.flask_security.app import ADMINISTRATOR, User, app, db, users


def fill(number: int, signed_in: int) -> list[Signed]:
    """Make the tables and the accounts, all with one hash, and a token for some of them."""
    with app.app_context():
        db.create_all()
        now, password = datetime.now(UTC).replace(tzinfo=None), hash_password(PASSWORD)
        rows = [
            {
                "email": email,
                "password": password,
                "active": True,
                "fs_uniquifier": uuid4().hex,
                "create_datetime": now,
                "update_datetime": now,
                "confirmed_at": now,
            }
            for email in emails(number)
        ]
        db.session.execute(db.insert(User), rows)
        some = db.session.scalars(db.select(User).order_by(User.id).limit(signed_in)).all()
        users.add_role_to_user(some[0], users.create_role(name=ADMINISTRATOR))
        users.commit()
        return [{"id": str(user.id), "email": user.email, "token": user.get_auth_token()} for user in some]


if __name__ == "__main__":
    tell_accounts(fill)
