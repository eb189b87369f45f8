"""The server: what it answers, and whom it refuses."""

from __future__ import annotations

import gc
import io
import os
import socket
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.datastructures import Headers
from starlette.testclient import TestClient

import gradviz
from gradviz.commands.explore.answers import Answers
from gradviz.commands.explore.app import app_of
from gradviz.commands.explore.guard import Admission
from gradviz.commands.explore.packing import unpacked
from gradviz.commands.explore.question import Question, SaveAsked
from gradviz.commands.explore.serve import Serving, in_address
from gradviz.commands.explore.session import ExploredModel, Session
from gradviz.commands.explore.worker import Task, Worker
from gradviz.commands.saliency.write import ResultWriter
from gradviz.errors import MemoryShort
from gradviz.image.find import find_images
from gradviz.image.preprocess import Preprocess
from tests.helpers.background import join_workers
from tests.helpers.nets import Net, dense
from tests.helpers.waiting import wait_until

HOST = "127.0.0.1:8000"
HOME = f"http://{HOST}"


@dataclass
class Place:
    """A server with one model and one picture, and a browser."""

    client: TestClient
    admission: Admission
    folder: Path
    number: int = 0

    def enter(self) -> None:
        assert self.client.get(f"/?token={self.admission.token}").status_code == 200

    def post(self, path: str, headers: dict[str, str] | None = None, **asked: Any) -> Any:
        """Ask, as the page does."""
        self.number += 1
        body = {"client": "tab", "number": self.number, **asked}
        if path in ("/session", "/progress", "/cancel"):
            del body["number"]
        return self.client.post(path, json=body, headers={"origin": HOME, **(headers or {})})

    def ask(self, seed: str, **asked: Any) -> Any:
        return self.post("/ask", seed=seed, **asked)


def session_of(net: torch.nn.Module, folder: Path) -> Session:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    sources = find_images([str(folder / "photo.png")], None).sources
    explored = ExploredModel("net.ts", gradviz.wrap(net), Preprocess())
    return Session([explored], sources, folder / "out")


def place_of(net: torch.nn.Module, folder: Path) -> Iterator[Place]:
    session = session_of(net, folder)
    admission, worker = Admission("127.0.0.1", 8000, "127.0.0.1"), Worker()
    client = TestClient(app_of(session, admission, worker), HOME, follow_redirects=False)
    yield Place(client, admission, folder)
    worker.close()
    join_workers()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield from place_of(dense(), tmp_path)


# Who is let in


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_get(place: Place) -> None:
    answer = place.client.get(f"/?token={place.admission.token}")
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("gradviz-8000=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert place.post("/session").status_code == 200


def test_the_token_works_once(place: Place) -> None:
    address = f"/?token={place.admission.token}"
    place.client.get(address)
    assert place.client.get(address).status_code == 303  # the same browser, which has the cookie
    place.client.cookies.clear()
    assert place.client.get(address).status_code == 403


GUESSES = ["", "x", "%00", "é", "A" * 43]


@pytest.mark.parametrize("token", GUESSES)
def test_a_guessed_token_is_refused(place: Place, token: str) -> None:
    answer = place.client.get("/", params={"token": token})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert place.admission.token is not None


@pytest.mark.parametrize("path", ["/", "/web/main.js", "/image", "/nothing"])
def test_nothing_is_read_without_the_cookie(place: Place, path: str) -> None:
    assert place.client.get(path).status_code == 403


@pytest.mark.parametrize("cookie", GUESSES)
def test_a_guessed_cookie_is_refused(place: Place, cookie: str) -> None:
    headers = {b"cookie": f"gradviz-8000={cookie}".encode()}
    assert place.client.get("/", headers=headers).status_code == 403


FOREIGN_HOSTS = [
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example:8000", "localhost.evil.example"),
    *(
        "",
        "0.0.0.0:8000",
        "192.168.1.5:8000",
        "[::2]:8000",
        "127.0.0.1@evil.example",
        "[",
        "127.0.0.1:x",
    ),
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_another_host_is_refused_even_with_the_cookie_or_the_token(place: Place, host: str) -> None:
    token = place.admission.token
    assert place.client.get(f"/?token={token}", headers={"host": host}).status_code == 403
    assert place.admission.token == token
    place.enter()
    assert place.client.get("/", headers={"host": host}).status_code == 403
    answer = place.post("/session", {"host": host, "origin": f"http://{host}"})
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1:9999", "[::1]:9999", "localhost"])
def test_a_forwarded_port_is_let_in(place: Place, host: str) -> None:
    place.enter()
    cookie = {"cookie": f"{place.admission.cookie}={place.admission.key}"}
    headers = {"host": host, "origin": f"http://{host}", **cookie}
    assert place.post("/session", headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "address", "asked", "admitted"),
    [
        ("Johns-Mac.local", "10.0.0.5", "johns-mac.local:8000", True),  # as a browser writes it
        ("johns-mac.local", "10.0.0.5", "JOHNS-MAC.LOCAL:8000", True),
        ("Johns-Mac.local", "10.0.0.5", "10.0.0.5:8000", True),
        ("Johns-Mac.local", "10.0.0.5", "10.0.0.6:8000", False),
        ("Johns-Mac.local", "10.0.0.5", "janes-mac.local:8000", False),
        ("10.5", "10.0.0.5", "10.0.0.5:8000", True),
        ("FE80:0::5", "fe80::5", "[fe80::5]:8000", True),
        ("127.0.0.1", "127.0.0.1", "LOCALHOST:8000", True),
        ("0", "0.0.0.0", "192.168.1.5:8000", True),
        ("0:0::", "::", "[fe80::5]:8000", True),
        ("0", "0.0.0.0", "evil.example:8000", False),
    ],
)
def test_the_hosts_are_those_that_reach_the_socket(
    host: str, address: str, asked: str, admitted: bool
) -> None:
    reason = Admission(host, 8000, address).foreign(Headers({"host": asked}))
    assert (reason == "") is admitted


@pytest.mark.parametrize("number", ["::", "::1"])
def test_an_address_of_the_newer_kind_stands_in_brackets(
    number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Six(socket.socket):
        """A socket that tells the address of a machine which has such addresses."""

        def getsockname(self) -> Any:
            return (number, super().getsockname()[1], 0, 0)

    def listen(*_: object) -> socket.socket:
        made = Six()
        made.bind(("127.0.0.1", 0))
        made.listen()
        return made

    monkeypatch.setattr("gradviz.commands.explore.serve._listen", listen)
    with Serving(session_of(dense(), tmp_path), number) as serving:
        assert serving.address.startswith(f"http://[::1]:{serving.port}/?token=")
        assert in_address(serving.near) == "[::1]"
        assert serving.open_to_others is (number == "::")


FOREIGN_ORIGINS = [
    *("http://evil.example", "null", "http://127.0.0.1:8001", "http://localhost:8000", ""),
    *("https://127.0.0.1:8000", "http://127.0.0.1:8000.evil.example", "file://"),
]


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
@pytest.mark.parametrize("path", ["/session", "/ask", "/save", "/output", "/cancel"])
def test_another_origin_is_refused_even_with_the_cookie(
    place: Place, path: str, origin: str
) -> None:
    place.enter()
    assert place.post(path, {"origin": origin}).status_code == 403
    assert not (place.folder / "out").exists()


def test_a_request_that_computes_must_name_its_origin(place: Place) -> None:
    place.enter()
    for path in ("/ask", "/save", "/session"):
        assert place.client.post(path, json={"client": "t", "number": 1}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "odd"])
def test_the_browser_says_where_a_request_comes_from(place: Place, site: str) -> None:
    """Servers on other ports of this machine are the same site, and get the cookie."""
    place.enter()
    assert place.client.get("/image", headers={"sec-fetch-site": site}).status_code == 403
    assert place.post("/session", {"sec-fetch-site": site}).status_code == 403
    assert place.post("/session", {"sec-fetch-site": "same-origin"}).status_code == 200


def test_every_answer_keeps_the_page_to_itself(place: Place) -> None:
    refused = place.client.get("/")
    place.enter()
    for answer in (refused, place.client.get("/"), place.post("/session"), place.ask("pixel:0,0")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_computing_by_get_and_preflights_are_refused(place: Place) -> None:
    place.enter()
    for path in ("/ask", "/save", "/output", "/session"):
        assert place.client.get(path).status_code == 405
        preflight = {"origin": "http://evil.example", "access-control-request-method": "POST"}
        assert place.client.options(path, headers=preflight).status_code == 403


# What can be read


@pytest.mark.parametrize(
    "path",
    [
        "/web/../app.py",
        "/web/%2e%2e/app.py",
        "/web/..%2fapp.py",
        "/web//etc/passwd",
        "/web/app.py",
        "/heatmap/%2e%2e/views.py",
        "/etc/passwd",
        "/image?image=1",
        "/image?image=-1",
        "/image?model=1",
        "/image?image=/etc/passwd",
    ],
)
def test_other_files_are_not_there(place: Place, path: str) -> None:
    place.enter()
    assert place.client.get(path).status_code == 404


@pytest.mark.parametrize(
    "seed",
    [
        "mask:secret.npy",
        "tensor:secret.npy",
        "loss:mse=secret.npy",
        "pixel:0,0 - 2*mask:secret.npy",
        "tensor:/etc/passwd",
    ],
)
def test_no_seed_reads_a_file(place: Place, seed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    np.save("secret.npy", np.ones((2, 6, 8), np.float32))
    place.enter()
    error = place.ask(seed).json()["error"]
    assert error["type"] == "SeedError"
    assert "names a file" in error["message"]


def test_no_baseline_and_no_colour_map_reads_a_file(place: Place) -> None:
    np.save(place.folder / "secret.npy", np.ones((3, 12, 16), np.float32))
    place.enter()
    path = str(place.folder / "secret.npy")
    asked = place.ask("pixel:0,0", method="integrated-gradients", baseline=path)
    assert asked.json()["error"]["type"] == "UsageError"
    saved = place.post("/save", seed="pixel:0,0", colormap=path)
    assert saved.json()["error"]["type"] == "UsageError"
    assert not (place.folder / "out").exists()


@pytest.mark.parametrize("view", ["../heatmap", "/tmp/heatmap", "", "heatmap.png"])
def test_saving_names_no_file(place: Place, view: str) -> None:
    place.enter()
    before = sorted(place.folder.rglob("*"))
    assert "error" in place.post("/save", seed="pixel:0,0", views=[view]).json()
    assert sorted(place.folder.rglob("*")) == before


def test_saving_goes_past_folders_and_links_that_are_there(place: Place, tmp_path: Path) -> None:
    place.enter()
    out, elsewhere = place.folder / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "001").symlink_to(elsewhere)
    (out / "002").symlink_to(tmp_path / "nowhere")
    found = place.post("/save", seed="pixel:1,2").json()
    assert found["folder"] == str(out / "003")
    assert (out / "003" / "run.json").exists()
    assert not [*elsewhere.iterdir()]
    assert not (tmp_path / "nowhere").exists()


def test_what_cannot_be_answered_is_not_saved(place: Place) -> None:
    place.enter()
    assert "error" in place.post("/save", seed="pixel:99,0").json()
    assert not (place.folder / "out").exists()


class Stopping(torch.nn.Module):
    """Fails if it is told to, after a stranger's file was written, if one is named."""

    fails: ClassVar[bool] = False
    stranger: ClassVar[Path | None] = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fails:
            if self.stranger is not None:
                self.stranger.write_text("not of this run")
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return x[:, :2] * 2


class Noticed(torch.nn.Module):
    """A model whose passes are known; each ends with its graph."""

    passes: ClassVar[list[weakref.ref[object]]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = _Noticed.apply(x[:, :2])  # type: ignore[no-untyped-call]
        return y


class _Noticed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.token = torch.nn.Module()
        Noticed.passes.append(weakref.ref(ctx.token))
        return x * 2

    @staticmethod
    def backward(ctx: Any, *of: torch.Tensor) -> torch.Tensor:
        return of[0] * 2


@pytest.fixture
def stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A server whose model has answered, and fails from now on."""
    for place in place_of(Stopping(), tmp_path):
        place.enter()
        assert place.ask("pixel:3,2").headers["content-type"] == "application/octet-stream"
        monkeypatch.setattr(Stopping, "fails", True)
        yield place


def test_a_save_that_fails_leaves_nothing(stopping: Place) -> None:
    error = stopping.post("/save", seed="pixel:3,2").json()["error"]
    assert "out of memory" in error["message"]
    assert "--resize" in error["message"]
    assert [*(stopping.folder / "out").iterdir()] == []


def test_a_save_that_fails_removes_its_own_files_alone(
    stopping: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = stopping.folder / "out" / "001" / "notes.txt"
    monkeypatch.setattr(Stopping, "stranger", stranger)
    assert "error" in stopping.post("/save", seed="pixel:3,2").json()
    assert [*stranger.parent.iterdir()] == [stranger]


def test_a_save_that_fails_after_its_array_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.enter()
    arrays = list[Path]()

    def full(*_: object) -> None:
        arrays.extend(place.folder.glob("out/001/photo.png/pixel-3-2/gradient.npy"))
        raise MemoryError

    monkeypatch.setattr(ResultWriter, "_with_pictures", full)
    assert "too little memory" in place.post("/save", seed="pixel:3,2").json()["error"]["message"]
    assert len(arrays) == 1
    assert [*(place.folder / "out").iterdir()] == []
    monkeypatch.undo()
    assert place.post("/save", seed="pixel:3,2").json()["folder"] == str(place.folder / "out/001")


@pytest.mark.usefixtures("no_collector")
def test_a_save_has_the_memory_of_the_passes_that_were_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(Noticed(), tmp_path)
    answers = Answers(replace(session, models=2 * [*session.models]))
    for model in (0, 1):
        answers.ask(Question(client="tab", number=1, model=model), Task("tab", print))

    def kept() -> int:
        return sum(each() is not None for each in Noticed.passes)

    before, counts = kept(), list[int]()
    assert before == 2
    monkeypatch.setattr("gradviz.commands.explore.answers.save", lambda *_: counts.append(kept()))
    answers.save(SaveAsked(client="tab", number=2, seed="pixel:3,2"), Task("tab", print))
    assert counts == [0]


# What is answered


def test_a_question_that_is_none_is_refused_in_one_line(place: Place) -> None:
    place.enter()
    headers = {"origin": HOME, "content-type": "application/json"}
    for body in (b"", b"[]", b"{", b'{"client": 1}', b'{"client": "t", "number": 1, "extra": 2}'):
        answer = place.client.post("/ask", content=body, headers=headers)
        assert answer.status_code == 422
        assert len(answer.text.splitlines()) == 1
    large = place.client.post("/ask", content=b" " * (1 << 17), headers=headers)
    assert large.status_code == 413
    plain = place.client.post("/ask", content=b"{}", headers={"origin": HOME})
    assert plain.status_code == 415


def test_the_gradient_of_a_pixel_is_that_of_the_network(place: Place) -> None:
    place.enter()
    header, arrays = unpacked(place.ask("pixel:3,2,1").content)
    image = Image.open(place.folder / "photo.png")
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    x.requires_grad_()
    y = dense()(x)
    (expected,) = torch.autograd.grad(y[0, 1, 2, 3], x)
    assert np.allclose(arrays["gradient"], expected[0], rtol=1e-3, atol=1e-3 * expected.abs().max())
    assert header["score"] == pytest.approx(float(y[0, 1, 2, 3].detach()), rel=1e-5)
    assert (
        header["command"]
        == f"gradviz saliency net.ts {place.folder / 'photo.png'} --seed pixel:3,2,1"
    )
    x0, y0, x1, y1 = header["arrays"][0]["window"]
    assert header["arrays"][0]["shape"] == [3, y1 - y0, x1 - x0]


def test_the_reaction_to_a_pixel_is_the_transpose_of_gradients(place: Place) -> None:
    place.enter()
    _, arrays = unpacked(place.ask("reacts:5,4").content)
    pushed = arrays["reaction"]
    assert pushed.shape == (2, 6, 8)
    for x, y, channel in ((2, 2, 0), (3, 1, 1), (2, 2, 1)):
        _, pulled = unpacked(place.ask(f"pixel:{x},{y},{channel}").content)
        there = pulled["gradient"][:, 4, 5].sum()
        assert pushed[channel, y, x] == pytest.approx(there, rel=2e-3, abs=1e-4)


def test_fields_hold_all_that_a_gradient_reaches(place: Place) -> None:
    place.enter()
    found = place.post("/fields").json()
    assert found["shape"] == [2, 6, 8]
    assert len(found["fields"]["x"]) == 8
    for x, y in ((0, 0), (4, 3), (7, 5)):
        (x0, x1), (y0, y1) = found["fields"]["x"][x], found["fields"]["y"][y]
        _, arrays = unpacked(place.ask(f"pixel:{x},{y}").content)
        marked = np.asarray(arrays["gradient"].any(0))
        assert marked.any()
        marked[y0:y1, x0:x1] = False
        assert not marked.any()


def test_the_output_and_the_image_are_those_of_the_model(place: Place) -> None:
    place.enter()
    header, arrays = unpacked(place.post("/output", channel=1).content)
    assert (header["kind"], header["channel"], header["channels"]) == ("map", 1, 2)
    shown = np.array(Image.open(io.BytesIO(place.client.get("/image").content)))
    assert (shown == np.array(Image.open(place.folder / "photo.png"))).all()
    x = torch.from_numpy(shown.copy()).permute(2, 0, 1)[None].float() / 255
    y = dense()(x)[0].detach().numpy()
    assert np.allclose(arrays["output"][0], y[1], atol=1e-3 * np.abs(y).max())
    assert set(arrays) == {"output"}
    header, arrays = unpacked(place.post("/output", channel="winning").content)
    assert header["channel"] == "winning"
    assert (arrays["winner"][0] == y.argmax(0)).all()
    assert np.allclose(arrays["output"][0], y.max(0), atol=1e-3 * np.abs(y).max())
    layers = place.post("/layers").json()["layers"]
    assert [each["name"] for each in layers if each["map"]][:1] == ["first"]


@pytest.mark.parametrize("kept", ["time", "inode"])
def test_an_image_that_was_replaced_is_read_anew(place: Place, kept: str) -> None:
    place.enter()
    photo, saved = place.folder / "photo.png", list[np.ndarray]()

    def look() -> list[np.ndarray]:
        shown = np.array(Image.open(io.BytesIO(place.client.get("/image").content)))
        _, asked = unpacked(place.ask("pixel:3,2").content)
        _, output = unpacked(place.post("/output").content)
        folder = Path(place.post("/save", seed="pixel:3,2").json()["folder"])
        saved.append(np.load(folder / "photo.png" / "pixel-3-2" / "gradient.npy"))
        return [shown, asked["gradient"], output["output"]]

    before, status = look(), photo.stat()
    other = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
    if kept == "time":  # as a copy with its time
        Image.fromarray(other).save(place.folder / "new.png")
        os.utime(place.folder / "new.png", ns=(status.st_atime_ns, status.st_mtime_ns))
        (place.folder / "new.png").replace(photo)
    else:
        Image.fromarray(other).save(photo)
        assert photo.stat().st_ino == status.st_ino
    after = look()
    assert (after[0] == other).all()
    for one, two in zip(before, after, strict=True):
        assert not np.array_equal(one, two)
    np.testing.assert_allclose(after[1], saved[1], atol=1e-3 * np.abs(saved[1]).max())
    photo.unlink()
    gone = place.ask("pixel:3,2").json()["error"]
    assert "no such file" in gone["message"]


def test_a_model_that_fails_answers_that_question_alone(tmp_path: Path) -> None:
    class Moody(torch.nn.Module):
        moods: ClassVar[list[BaseException]] = []  # of the class: the model that is asked is a copy

        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 1, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.moods:
                print("a model may print")
                raise self.moods.pop()
            y: torch.Tensor = self.conv(x)
            return y

    for place in place_of(Moody(), tmp_path):
        place.enter()
        answers = [place.post("/output")]
        short = torch.OutOfMemoryError("out of memory: too much")
        Moody.moods = [short, SystemExit("not now,\nnot today")]
        asked = {"method": "gradcam", "layer": "conv"}  # whose pass is not kept yet
        answers += [place.ask(f"pixel:{n},0", **asked) for n in range(3)]
        assert unpacked(answers[0].content)[0]["kind"] == "map"
        first, second = (each.json()["error"] for each in answers[1:3])
        assert first["type"] == "ModelError"
        assert "not today" in first["message"]
        assert len(first["message"].splitlines()) == 1
        assert second["type"] == "MemoryShort"
        assert unpacked(answers[3].content)[0]["seed"] == "pixel:2,0"


class Failing(torch.nn.Module):
    """Fails in the forward pass; its tensors are known."""

    tensors: ClassVar[list[weakref.ref[torch.Tensor]]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        self.tensors.append(weakref.ref(y))
        raise RuntimeError("out of memory")


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Nothing but its last reference ends an object."""
    gc.collect()
    gc.disable()
    Failing.tensors.clear()
    Noticed.passes.clear()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_the_tensors_of_a_pass_that_failed_are_gone_with_its_answer(tmp_path: Path) -> None:
    for place in place_of(Failing(), tmp_path):
        place.enter()
        for path in ("/ask", "/output"):
            assert place.post(path).json()["error"]["type"] == "MemoryShort"
        assert len(Failing.tensors) > 1
        wait_until(lambda: not any(tensor() is not None for tensor in Failing.tensors))


@pytest.mark.parametrize("path", ["/output", "/ask"])
def test_an_input_for_which_memory_is_short_says_what_to_do(
    place: Place, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.enter()
    for known in ("/fields", "/ask"):  # the image is read
        assert place.post(known).status_code == 200

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch.Tensor, "to", full)
    asked: dict[str, Any] = {"seed": "reacts:5,4"} if path == "/ask" else {}
    error = place.post(path, **asked).json()["error"]
    assert error["type"] == "MemoryShort"
    assert "the input cannot be made" in error["message"]
    assert "--resize" in error["message"]


@pytest.mark.usefixtures("no_collector")
def test_an_error_that_is_dropped_keeps_no_tensor(tmp_path: Path) -> None:
    engine = Answers(session_of(Failing(), tmp_path)).engine(0)
    with suppress(MemoryShort):
        engine.attribution(Question(client="tab", number=1), print)
    assert Failing.tensors
    assert not any(tensor() is not None for tensor in Failing.tensors)


def test_a_bug_is_told_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.enter()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("gradviz.commands.explore.engine.Engine.attribution", broken)
    assert place.ask("").json()["error"] == {"type": "ZeroDivisionError", "message": "a bug"}
    monkeypatch.undo()
    assert place.ask("").status_code == 200


def test_two_unlike_questions_of_one_number_are_dropped_by_number(place: Place) -> None:
    place.enter()
    body = {"client": "tab", "number": 90, "seed": "pixel:0,0"}
    headers = {"origin": HOME}
    assert (
        unpacked(place.client.post("/ask", json=body, headers=headers).content)[0]["number"] == 90
    )
    late = place.client.post("/ask", json={**body, "number": 89}, headers=headers)
    assert late.json() == {"number": 89, "dropped": True}
    assert place.post("/progress").json() == {"text": None, "seconds": 0.0}
    assert place.post("/cancel").json() == {}


def test_all_scripts_of_the_page_are_there(place: Place) -> None:
    place.enter()
    page = place.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<style" not in page.text
    assert "style=" not in page.text


def test_no_name_stands_for_any_seed(place: Place) -> None:
    """A model without labels and maps has its errors in one line as well."""
    place.enter()
    for asked in ({"seed": "class:cat"}, {"method": "magic"}, {"layer": "nowhere"}, {"image": 7}):
        error = place.post("/ask", **asked).json()["error"]
        assert len(error["message"].splitlines()) == 1


def test_an_output_of_another_rank_is_asked_as_a_whole(tmp_path: Path) -> None:
    for place in place_of(Net(lambda x: x[:, None]), tmp_path):
        place.enter()
        header, _ = unpacked(place.post("/output").content)
        assert header["kind"] == "other"
        assert unpacked(place.ask("").content)[0]["seed"] == "ones"
