"""The server of the page: a socket, and a thread that answers it."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from errno import EADDRNOTAVAIL
from types import TracebackType
from typing import Self

import uvicorn

from gradviz.commands.explore.app import app_of
from gradviz.commands.explore.guard import EVERYWHERE, Admission
from gradviz.commands.explore.session import Session
from gradviz.commands.explore.worker import Worker
from gradviz.errors import UsageError


class _Server(uvicorn.Server):
    """A server that leaves signals to the main thread."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Serving:
    """A page that is served until it is closed."""

    def __init__(self, session: Session, host: str = "127.0.0.1", port: int = 0) -> None:
        """Begin to serve.

        Args:
            session: the models and images.
            host: the address to listen on.
            port: its port; 0 for one that is free.

        Raises:
            UsageError: the address cannot be listened on.
        """
        self._socket = _listen(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self._number = str(self._socket.getsockname()[0])
        self.near = EVERYWHERE.get(self._number, self._number)
        """The number of the address at which this machine reaches the page."""
        self.name = self.near if self._number in EVERYWHERE else host
        """The name or number of the host in the address to open."""
        admission = Admission(host, self.port, self._number)
        self.address = f"http://{in_address(self.name)}:{self.port}/?token={admission.token}"
        """The address to open in a browser; its token works once."""
        self._worker = Worker()
        config = uvicorn.Config(
            app_of(session, admission, self._worker),
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="gradviz-serve", daemon=True
        )
        self._thread.start()

    @property
    def open_to_others(self) -> bool:
        """True if other machines can reach the page."""
        return not ipaddress.ip_address(self._number).is_loopback

    def __repr__(self) -> str:
        return f"Serving({self.address!r})"

    def __str__(self) -> str:
        return self.address

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the page."""
        self.close()

    def wait(self) -> None:
        """Wait until the page is closed; a signal may interrupt this."""
        while self._thread.is_alive():
            self._thread.join(1)

    def close(self) -> None:
        """Stop serving; a pass that runs ends in the background."""
        self._worker.close()
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    with ExitStack() as on_error:
        try:
            family, kind, number, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            made = on_error.enter_context(socket.socket(family, kind, number))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            made.listen()
        except (OSError, OverflowError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            no_such = (EADDRNOTAVAIL, socket.EAI_NONAME)
            elsewhere = isinstance(error, UnicodeError) or getattr(error, "errno", None) in no_such
            remedy = (
                "give an address of this machine"
                if elsewhere
                else "give another --port, or none for a free one"
            )
            raise UsageError(
                f"--host {host} --port {port}: cannot listen there ({reason}); {remedy}"
            ) from None
        on_error.pop_all()
    return made


def in_address(host: str) -> str:
    """Write a host as it stands in an address."""
    return f"[{host}]" if ":" in host else host
