"""The routes of the page's server."""

from __future__ import annotations

import asyncio
import io
import mimetypes
from collections.abc import Callable, Hashable
from contextlib import suppress
from importlib.resources import files
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gradviz.commands.explore.answers import Answers
from gradviz.commands.explore.guard import Admission, Guard
from gradviz.commands.explore.question import Asked, Client, OutputAsked, Question, SaveAsked
from gradviz.commands.explore.session import Session
from gradviz.commands.explore.worker import Dropped, Task, Worker
from gradviz.errors import GradvizError
from gradviz.text import one_line, strict_json

AskedKind = TypeVar("AskedKind", bound=BaseModel)

ASSETS = {"web": "gradviz.commands.explore", "heatmap": "gradviz.heatmap"}
"""The first part of a file's address, and the package whose folder `web` holds the file."""

SERVED = {".html", ".js", ".css", ".svg", ".png"}
"""The files of those folders that are served."""

MOST_BYTES = 1 << 16
"""The largest request."""


class Routes:
    """The server's answers, by their addresses."""

    def __init__(self, session: Session, worker: Worker) -> None:
        self._session = strict_json(session.describe())
        self._answers = Answers(session)
        self._worker = worker
        self._assets = {
            f"/{part}/{file.name}": file.read_bytes()
            for part, package in ASSETS.items()
            for file in (files(package) / "web").iterdir()
            if any(file.name.endswith(suffix) for suffix in SERVED)
        }

    def all(self) -> list[Route]:
        """List the routes."""
        reading = {
            "/": self.page,
            "/web/{name}": self.asset,
            "/heatmap/{name}": self.asset,
            "/image": self.image,
        }
        computing = {
            "/session": self.session,
            "/output": self.output,
            "/fields": self.fields,
            "/layers": self.layers,
            "/ask": self.ask,
            "/save": self.save,
            "/progress": self.progress,
            "/cancel": self.cancel,
        }
        return [
            *(Route(path, endpoint, methods=["GET"]) for path, endpoint in reading.items()),
            *(Route(path, endpoint, methods=["POST"]) for path, endpoint in computing.items()),
        ]

    async def page(self, request: Request) -> Response:
        """Send the page itself, and prepare its first answer, once."""
        self._worker.ask("the server", 0, self._answers.prepare)
        return Response(self._assets["/web/index.html"], media_type="text/html")

    async def asset(self, request: Request) -> Response:
        """Send a script or a style of the page."""
        content = self._assets.get(request.url.path)
        if content is None:
            raise HTTPException(404, "there is no such file")
        kind, _ = mimetypes.guess_type(request.url.path)
        return Response(content, media_type=kind)

    async def image(self, request: Request) -> Response:
        """Send an image as a model sees it, or a small picture of it.

        Bitmaps need no time to be packed and unpacked; most pages are on this machine.
        """
        try:
            model, image = (int(request.query_params.get(name, "0")) for name in ("model", "image"))
        except ValueError:
            raise HTTPException(404, "there is no such image") from None
        small = request.query_params.get("small") == "1"

        def drawn() -> bytes:
            buffer = io.BytesIO()
            self._answers.picture(model, image, small).save(buffer, "BMP")
            return buffer.getvalue()

        try:
            return Response(await run_in_threadpool(drawn), media_type="image/bmp")
        except GradvizError as error:
            raise HTTPException(404, one_line(error)) from None

    async def session(self, request: Request) -> Response:
        """Describe what is explored."""
        return Response(self._session, media_type="application/json")

    async def output(self, request: Request) -> Response:
        """Answer what a model makes of an image."""
        asked = await _read(request, OutputAsked)
        return await self._worked(asked, "output", lambda task: self._answers.output(asked, task))

    async def fields(self, request: Request) -> Response:
        """Answer which box of the image each pixel of a map looks at."""
        asked = await _read(request, Asked)
        with suppress(GradvizError):  # the worker says why
            known = await run_in_threadpool(self._answers.known_fields, asked)
            if known is not None:
                return _json({"number": asked.number, **known})
        return await self._worked(asked, "fields", lambda task: self._answers.fields(asked))

    async def layers(self, request: Request) -> Response:
        """List the layers that can be read."""
        asked = await _read(request, Asked)
        return await self._worked(asked, "layers", lambda task: self._answers.layers(asked))

    async def ask(self, request: Request) -> Response:
        """Answer what a place of the output looks at, or what reacts to one of the input."""
        question = await _read(request, Question)
        return await self._worked(question, "ask", lambda task: self._answers.ask(question, task))

    async def save(self, request: Request) -> Response:
        """Write an answer into a folder."""
        asked = await _read(request, SaveAsked)
        kind = f"save {asked.number}"  # none replaces another
        return await self._worked(asked, kind, lambda task: self._answers.save(asked, task))

    async def progress(self, request: Request) -> Response:
        """Tell what is done for a client now."""
        client = await _read(request, Client)
        text, seconds = self._worker.step(_of(client)) or (None, 0.0)
        return _json({"text": text, "seconds": round(seconds, 2)})

    async def cancel(self, request: Request) -> Response:
        """Drop the questions of a client about places; a page asks others once."""
        self._worker.forget(_of(await _read(request, Client), "ask"))
        return _json({})

    async def _worked(
        self, asked: Asked, kind: str, work: Callable[[Task], bytes | dict[str, object]]
    ) -> Response:
        """Let the worker answer, unless a newer question of the same kind and model comes."""
        asker = (asked.client, kind, asked.model)
        try:
            answer = await asyncio.wrap_future(self._worker.ask(asker, asked.number, work))
        except Dropped:
            return _json({"number": asked.number, "dropped": True})
        except Exception as error:  # a bug is told as well: the page lives on
            told = {"type": type(error).__name__, "message": one_line(error)}
            return _json({"number": asked.number, "error": told})
        if isinstance(answer, bytes):
            return Response(answer, media_type="application/octet-stream")
        return _json({"number": asked.number, **answer})


def _of(client: Client, kind: str | None = None) -> Callable[[Hashable], bool]:
    """Tell the askers of a client, or those of one kind of question."""
    return lambda asker: (
        isinstance(asker, tuple) and asker[0] == client.client and kind in (None, asker[1])
    )


async def _read(request: Request, kind: type[AskedKind]) -> AskedKind:
    """Read a request of the page.

    Raises:
        HTTPException: it is too large, or not what the page sends.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "expected application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"expected at most {MOST_BYTES} bytes")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise HTTPException(422, one_line(f"{where or 'the request'}: {first['msg']}")) from None


def _json(value: object) -> Response:
    return Response(strict_json(value), media_type="application/json")


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", status_code=error.status_code)


def app_of(session: Session, admission: Admission, worker: Worker) -> Guard:
    """Make the application that serves a session to the browser that is admitted."""
    routes = Routes(session, worker).all()
    return Guard(Starlette(routes=routes, exception_handlers={HTTPException: _told}), admission)
