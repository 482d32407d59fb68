"""The application: registration, sign-in for a bearer token, and reads of users."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Query
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from benchmarks.peers.agreed import READY, ROWS, SECRET, TOKEN_SECONDS, dsn


class Base(DeclarativeBase):
    """The tables."""


class User(SQLAlchemyBaseUserTableUUID, Base):
    """An account as the library has it, without further columns."""


class UserRead(schemas.BaseUser[UUID]):
    """An account as it is answered."""


class UserCreate(schemas.BaseUserCreate):
    """An account as it is registered."""


class UserUpdate(schemas.BaseUserUpdate):
    """A change of an account."""


class UserManager(UUIDIDMixin, BaseUserManager[User, UUID]):
    """The library's own rules, with the passwords hashed as it does by default."""

    reset_password_token_secret = SECRET
    verification_token_secret = SECRET


engine = create_async_engine(dsn().replace("postgresql://", "postgresql+asyncpg://", 1))
make_session = async_sessionmaker(engine, expire_on_commit=False)


async def get_session() -> AsyncIterator[AsyncSession]:
    """Open a session for a request."""
    async with make_session() as session:
        yield session


async def get_users(session: Annotated[AsyncSession, Depends(get_session)]) -> AsyncIterator[SQLAlchemyUserDatabase]:
    """Give a request the accounts."""
    yield SQLAlchemyUserDatabase(session, User)


async def get_manager(users: Annotated[SQLAlchemyUserDatabase, Depends(get_users)]) -> AsyncIterator[UserManager]:
    """Give a request the rules."""
    yield UserManager(users)


def get_strategy() -> JWTStrategy:
    """Return what signs and reads tokens."""
    return JWTStrategy(secret=SECRET, lifetime_seconds=TOKEN_SECONDS)


backend = AuthenticationBackend(name="jwt", transport=BearerTransport(tokenUrl="auth/login"), get_strategy=get_strategy)
accounts = FastAPIUsers[User, UUID](get_manager, [backend])
is_administrator = accounts.current_user(active=True, superuser=True)
app = FastAPI()


@app.get("/users/list", dependencies=[Depends(is_administrator)])
async def list_users(
    session: Annotated[AsyncSession, Depends(get_session)],
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = ROWS,
) -> list[UserRead]:
    """Return a page; the library has no list of its own."""
    found: Sequence[User] = (await session.scalars(select(User).order_by(User.id).offset(offset).limit(limit))).all()
    return [UserRead.model_validate(user) for user in found]


@app.get(READY)
async def ready() -> dict[str, str]:
    """Say that the application is up."""
    return {}


app.include_router(accounts.get_auth_router(backend), prefix="/auth")
app.include_router(accounts.get_register_router(UserRead, UserCreate), prefix="/auth")
app.include_router(accounts.get_users_router(UserRead, UserUpdate), prefix="/users")
