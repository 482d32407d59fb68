"""Settings that may change at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.domain.event_data import camel_case
from userservice_core.http.call import json_response
from userservice_core.http.conditional import etag_of
from userservice_core.http.wire import SettingsAnswer, SettingsPatchBody

if TYPE_CHECKING:
    from userservice_core.application.run_time_settings import RunTimeSettings, ShownSettings
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response

_VARIANT: Final = "settings1"
"""Names the shape of the answer; raised whenever the same version of the settings is shown differently."""


def get_settings(call: Call) -> Response:
    """Show the settings that may change at run time."""
    return _shown(_settings(call).show())


def update_settings(call: Call) -> Response:
    """Change settings while the service runs."""
    body = call.body(SettingsPatchBody)
    names = {camel_case(setting.name): setting.name for setting in _settings(call).show().settings}
    values = {names.get(name, name): value for name, value in body.values.items()}
    return _shown(
        _settings(call).change(actor=call.require_actor(), values=values, reason=body.reason, expected=call.versions)
    )


def _settings(call: Call) -> RunTimeSettings:
    return call.services.use_cases.run_time_settings


def _shown(shown: ShownSettings) -> Response:
    return json_response(200, SettingsAnswer.of(shown), (("etag", etag_of(shown.version, _VARIANT)),))
