"""Who may talk to the server: the one browser to which the address was given.

The server listens on the loopback address, where every program of the machine and every page in its
browser can reach it. A one-time token in the address becomes a cookie; pages of other origins have
neither, and their requests name another origin. A foreign name that resolves to this machine (DNS
rebinding) is not among the allowed hosts.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The names under which a browser reaches the loopback address."""

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The addresses that stand for all of a machine's, and where the machine reaches itself there."""

HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::\d+)?", re.ASCII)
"""A Host header: a name or an address, and perhaps a port."""

READING = ("GET", "HEAD")
"""The methods that change and compute nothing."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
"""The headers of every answer."""


@dataclass
class Admission:
    """The secrets of one server, and the hosts that it goes by."""

    host: str
    """The address or name that it was told to listen on."""
    port: int
    address: str
    """The address on which its socket listens."""
    token: str | None = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """The token of the address; None once it was used."""
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """The value of the cookie."""

    @property
    def cookie(self) -> str:
        """The name of the cookie: browsers share cookies between the ports of a host."""
        return f"gradviz-{self.port}"

    @property
    def set_cookie(self) -> str:
        """The header that gives a browser the cookie."""
        return f"{self.cookie}={self.key}; Path=/; HttpOnly; SameSite=Strict"

    def redeem(self, token: str) -> bool:
        """Return True for the token, once."""
        if self.token is None or not _same(token, self.token):
            return False
        self.token = None
        return True

    def refusal(self, headers: Headers, method: str, cookies: Mapping[str, str]) -> str:
        """Return the reason why a request is refused; empty if it is not.

        Args:
            headers: the headers of the request.
            method: GET, POST and so on.
            cookies: its cookies.
        """
        if reason := self.foreign(headers):
            return reason
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return "the request comes from another page"
        origin = headers.get("origin")
        if method not in READING and origin is None:
            return "a request that is not for reading names no origin"
        if origin is not None and origin != f"http://{headers['host']}":
            return "the request comes from another page"
        if not _same(cookies.get(self.cookie, ""), self.key):
            return "open the address that gradviz printed: it has a token, which works once"
        return ""

    def foreign(self, headers: Headers) -> str:
        """Return the reason why a Host header names another server; empty if it does not."""
        host = headers.get("host", "")
        if self._named(host):
            return ""
        return f"the host {host[:100]!r} is not this server: open the address that was printed"

    def _named(self, host: str) -> bool:
        """Return True if a Host header names this server; another port may be forwarded to it."""
        found = HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].strip("[]").lower()  # browsers write names in small letters
        if name in (*LOOPBACK, self.host.lower(), self.address):
            return True
        return self.address in EVERYWHERE and _is_address(name)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="surrogatepass"), other.encode())


def _is_address(name: str) -> bool:
    """Return True for an IP address, which no foreign name server can point here."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """A layer around an application that lets admitted requests through."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket is not refused by its origin
            return

        answer, cookie = self._instead(Request(scope))

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if cookie:
                    headers.append("set-cookie", cookie)
            await send(message)

        await (answer or self._app)(scope, receive, secured)

    def _instead(self, request: Request) -> tuple[Response | None, str]:
        """Return the answer in place of the application's, if there is one, and a cookie to set.

        A link from another page may bring the token. A redirection would then arrive without the
        cookie, so the page itself is the answer.
        """
        admission = self._admission
        token = request.query_params.get("token")
        entering = token is not None and request.method == "GET" and request.url.path == "/"
        if entering and not admission.foreign(request.headers) and admission.redeem(token or ""):
            return None, admission.set_cookie
        reason = admission.refusal(request.headers, request.method, request.cookies)
        if reason:
            return PlainTextResponse(f"{reason}\n", status_code=403), ""
        return RedirectResponse("/", status_code=303) if entering else None, ""
