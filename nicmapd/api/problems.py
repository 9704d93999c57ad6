"""Every failure as `application/problem+json` (RFC 9457): the one table code -> status, the one shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from nicmapd.errors import NicmapError

MEDIA_TYPE = "application/problem+json"

#: `stale` is a conflict with the state that the client assumed; `unsupported` is 501 because
#: the request is right and another host could serve it.
STATUS_OF_CODE: Mapping[str, int] = {
    "not_found": 404,
    "ambiguous": 409,
    "conflict": 409,
    "invalid": 400,
    "stale": 409,
    "precondition_failed": 412,
    "unsupported": 501,
    "unavailable": 503,
    "forbidden": 403,
    "internal": 500,
}

#: What the framework and the server themselves refuse: our word for each of their statuses.
CODE_OF_STATUS: Mapping[int, str] = {
    400: "invalid",
    401: "forbidden",
    403: "forbidden",
    404: "not_found",
    405: "unsupported",
    406: "unsupported",
    408: "unavailable",
    410: "stale",
    413: "invalid",
    414: "invalid",
    415: "unsupported",
    422: "invalid",
    429: "unavailable",
    431: "invalid",
    501: "unsupported",
    503: "unavailable",
}

TITLES: Mapping[str, str] = {
    "not_found": "Not found",
    "ambiguous": "More than one fits",
    "conflict": "Not possible in the present state",
    "invalid": "The request is wrong",
    "stale": "The map is too old for this",
    "precondition_failed": "Changed since you read it",
    "unsupported": "Not supported",
    "unavailable": "Not available now",
    "forbidden": "Not permitted",
    "internal": "A fault in nicmapd",
}

#: What a client is told of a defect of ours; the rest is in the log.
INTERNAL_DETAIL = "nicmapd made a mistake; its log has the details (journalctl -u nicmapd)"


def document(
    code: str,
    detail: str,
    *,
    status: int | None = None,
    instance: str | None = None,
    details: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """The members of a problem. `details` never override the members that RFC 9457 and we define."""
    content: dict[str, object] = {
        "type": f"urn:nicmapd:problem:{code}",
        "title": TITLES[code],
        "status": status or STATUS_OF_CODE[code],
        "detail": detail,
        "code": code,
    }
    if instance is not None:
        content["instance"] = instance
    for key, value in (details or {}).items():
        content.setdefault(key, value)
    return content


def body(content: Mapping[str, object]) -> bytes:
    # default=str: the details of an error may hold whatever the raiser put there; a problem must never fail.
    return json.dumps(content, default=str).encode("ascii")


def response(
    code: str,
    detail: str,
    *,
    status: int | None = None,
    instance: str | None = None,
    details: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem as an HTTP answer."""
    content = document(code, detail, status=status, instance=instance, details=details)
    number = int(status or STATUS_OF_CODE[code])
    return Response(body(content), status_code=number, media_type=MEDIA_TYPE, headers=headers)


def of_error(error: NicmapError, *, instance: str | None = None) -> Response:
    """One of our errors as an HTTP answer."""
    code = error.code if error.code in STATUS_OF_CODE else "internal"
    return response(code, error.message, instance=instance, details=error.details)


def of_status(
    status: int, detail: str | None = None, *, instance: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """A refusal of the framework or of the edge as an HTTP answer."""
    code = CODE_OF_STATUS.get(status, "invalid" if status < 500 else "internal")
    return response(code, detail or HTTPStatus(status).phrase, status=status, instance=instance, headers=headers)
