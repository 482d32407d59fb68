"""The application: registration, sign-in for an authentication token, and reads of users."""

from __future__ import annotations

from flask import Flask, Response, abort, jsonify, request
from flask_security import Security, SQLAlchemyUserDatastore, auth_required, current_user, roles_required
from flask_security.models import fsqla_v3
from flask_sqlalchemy import SQLAlchemy

from benchmarks.peers.agreed import READY, ROWS, SECRET, TOKEN_SECONDS, dsn

ADMINISTRATOR = "administrator"

app = Flask(__name__)
app.config.update(
    SECRET_KEY=SECRET,
    SECURITY_PASSWORD_SALT=SECRET,
    SECURITY_TOKEN_MAX_AGE=TOKEN_SECONDS,
    SECURITY_REGISTERABLE=True,
    SECURITY_USE_REGISTER_V2=True,
    SECURITY_PASSWORD_CONFIRM_REQUIRED=False,
    SECURITY_SEND_REGISTER_EMAIL=False,
    # The names in the addresses belong to nobody, and are not looked up.
    SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False},
    # Tokens come in headers, which no other site can send.
    WTF_CSRF_ENABLED=False,
    SQLALCHEMY_DATABASE_URI=dsn().replace("postgresql://", "postgresql+psycopg://", 1),
)
db = SQLAlchemy(app)
fsqla_v3.FsModels.set_db_info(db)


class Role(db.Model, fsqla_v3.FsRoleMixin):
    """A role as the library has it."""


class User(db.Model, fsqla_v3.FsUserMixin):
    """An account as the library has it, without further columns."""


users = SQLAlchemyUserDatastore(db, User, Role)
app.security = Security(app, users)


def _told(user: User) -> dict[str, object]:
    return {
        "id": user.id,
        "email": user.email,
        "username": user.username,
        "active": user.active,
        "confirmedAt": user.confirmed_at,
        "createdAt": user.create_datetime,
        "updatedAt": user.update_datetime,
    }


@app.get("/users/me")
@auth_required("token")
def me() -> Response:
    """Answer whose token it is."""
    return jsonify(_told(current_user))


@app.get("/users/<int:user_id>")
@auth_required("token")
@roles_required(ADMINISTRATOR)
def one_user(user_id: int) -> Response:
    """Answer any account to an administrator."""
    found = db.session.get(User, user_id)
    return jsonify(_told(found)) if found else abort(404)


@app.get("/users")
@auth_required("token")
@roles_required(ADMINISTRATOR)
def list_users() -> Response:
    """Answer a page of accounts to an administrator."""
    number = request.args.get("page", 1, type=int)
    page = db.paginate(db.select(User).order_by(User.id), page=number, per_page=ROWS, max_per_page=100)
    return jsonify({"data": [_told(user) for user in page.items], "total": page.total})


@app.get(READY)
def ready() -> Response:
    """Say that the application is up."""
    return jsonify({})
