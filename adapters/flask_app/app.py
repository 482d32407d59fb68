"""The service as a Flask application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, request

from .translate import flask_response, request_from

if TYPE_CHECKING:
    from flask import Response

    from userservice_core.bootstrap import UserService


def create_app(service: UserService) -> Flask:
    """
    Return an application that serves *service* at every path.

    WSGI has no start and no end: whoever creates the application starts *service* before the first request and closes
    it after the last.
    """
    app = Flask(__name__, static_folder=None)
    pipeline = service.pipeline

    @app.before_request
    def answer() -> Response:
        """Hand the request to the pipeline before Flask looks for a route of its own."""
        translated = request_from(request.environ, max_body_bytes=pipeline.max_body_bytes)
        return flask_response(pipeline.handle(translated))

    return app
