"""Who may send requests to the servers on this machine: programs and the servers' pages, no other web site.

A browser sends any page's requests to any address, also to this machine, and a page can fake a signature. It
cannot set Host, Origin and Sec-Fetch-Site (Fetch standard, "forbidden request-header").

Imports nothing from this folder: model servers cannot import from it, and load this file by its path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from starlette.types import ASGIApp, Receive, Scope, Send

# Another web site may have pointed any other name at this machine (DNS rebinding).
LOCAL_HOST = re.compile(
    r"(?:127(?:\.\d{1,3}){3}|\[::1\]|(?:[a-z0-9_-]+\.)*localhost)(?::\d+)?", re.ASCII | re.IGNORECASE
)
ABSOLUTE_TARGET = re.compile(r"\A[a-z][a-z0-9+.-]*://([^/?#]*)", re.ASCII | re.IGNORECASE)
# "none" is the user's own action: a typed address, a bookmark. "same-site" is another port of this machine,
# whose pages may be anybody's. Programs send no such header.
OWN_SITES = frozenset({"same-origin", "none"})


def refusal(headers: Mapping[str, str], target: str = "/") -> str | None:
    """Why a request is refused and what to do instead, in one line; None if it may be answered.

    Args:
        headers: names in lower case; repeated headers' values are joined by commas.
        target: the request line's target, unchanged: it may name a host, too.
    """
    host = headers.get("host", "")
    for name in (host, *ABSOLUTE_TARGET.findall(target)):
        if not LOCAL_HOST.fullmatch(name):
            return (
                f"The request is for {name or 'no host'}, and only this machine's names are served; "
                "use the address with the host 127.0.0.1 or localhost"
            )
    for header, own in (("Origin", {f"http://{host.lower()}"}), ("Sec-Fetch-Site", OWN_SITES)):
        value = headers.get(header.lower())
        if value is not None and value not in own:
            return (
                f"The request comes from another web site ({header}: {value}), which may not use this one; "
                "to open a page, type its address into the browser"
            )
    return None


def without_cors(start_response: StartResponse) -> StartResponse:
    """WSGI's start_response without the headers that let other web sites read the answer."""

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        kept = [pair for pair in headers if not pair[0].lower().startswith("access-control-")]
        return start_response(status, kept, exc_info)

    return start


def guarded(app: ASGIApp) -> ASGIApp:
    """The ASGI application behind this check; errors have the container's format."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        reason = refusal(_headers(scope["headers"])) if scope["type"] == "http" else None
        if reason is None:
            await app(scope, receive, send)
            return
        body = json.dumps({"code": "forbidden", "message": reason}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for key, value in pairs:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers
