"""Fills the database of the application."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from fastapi_users.password import PasswordHelper
from sqlalchemy import insert

from benchmarks.peers.agreed import PASSWORD, Signed, emails, tell_accounts
from benchmarks.peers.fastapi_users.app import Base, User, engine, get_strategy


def fill(users: int, signed_in: int) -> list[Signed]:
    """Make the tables and the accounts, all with one hash, and a token for some of them."""
    return asyncio.run(_fill(users, signed_in))


async def _fill(users: int, signed_in: int) -> list[Signed]:
    hashed = PasswordHelper().hash(PASSWORD)
    rows = [
        {
            "id": uuid4(),
            "email": email,
            "hashed_password": hashed,
            "is_active": True,
            "is_superuser": index == 0,
            "is_verified": True,
        }
        for index, email in enumerate(emails(users))
    ]
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(insert(User), rows)
    await engine.dispose()
    strategy = get_strategy()
    return [
        {"id": str(row["id"]), "email": row["email"], "token": await strategy.write_token(User(**row))}
        for row in rows[:signed_in]
    ]


if __name__ == "__main__":
    tell_accounts(fill)
