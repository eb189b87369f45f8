"""`gradviz explore`: what the page shows is what the shell writes, and how it is served."""

from __future__ import annotations

import html
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gradviz
from gradviz import explore, load_model
from gradviz.commands.explore.answers import Answers
from gradviz.commands.explore.packing import in_halves, unpacked
from gradviz.commands.explore.question import OutputAsked, Question, SaveAsked
from gradviz.commands.explore.serve import Serving
from gradviz.commands.explore.session import ExploredModel, Session
from gradviz.commands.explore.worker import Task
from gradviz.errors import SeedError
from gradviz.image.find import find_images
from gradviz.image.preprocess import Preprocess
from gradviz.seeds.suppression import Suppression
from tests.helpers import processes
from tests.helpers.background import join_workers
from tests.helpers.commands import Gradviz
from tests.helpers.detector_nets import Cells, queries_net
from tests.helpers.formats import script
from tests.helpers.nets import dense
from tests.helpers.paths import ROOT
from tests.helpers.waiting import wait_until

MODELS, IMAGES = ROOT / "sample_models", ROOT / "sample_images"


def session_of(model: str, image: str, **flags: object) -> Session:
    loaded = gradviz.load_model(MODELS / model)
    recipe = loaded.recipe().overridden(flags, "the command line", "the card") if flags else None
    explored = ExploredModel(str(MODELS / model), loaded, recipe or loaded.recipe())
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return Session([explored], find_images([str(IMAGES / image)], None).sources, Path("out"), words)


def not_optimised(session: Session) -> Session:
    models = [replace(each, optimize=False) for each in session.models]
    return replace(session, models=models, options=[*session.options, "--no-optimize"])


def task() -> Task:
    return Task("test", lambda task: None)


QUESTIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "pixel": ("depth.ts", "room_01.png", {"seed": "pixel:64,48"}),
    "the pixel beside it": ("depth.ts", "room_01.png", {"seed": "pixel:65,48"}),
    "corner": ("depth.ts", "room_01.png", {"seed": "pixel:3,2"}),
    "sum": ("depth.ts", "room_01.png", {"seed": "pixel:64,48 - region:3,5,20,30"}),
    "default": ("depth.ts", "room_01.png", {}),
    "at": ("depth.ts", "room_phone.jpg", {"seed": "at:200,100"}),
    "class": ("shapes.yaml", "shapes_04.png", {"seed": "class:star"}),
    "classes": ("shapes.yaml", "shapes_04.png", {"seed": "class:star - 0.6*class:circle"}),
    "gradcam": ("shapes.yaml", "shapes_04.png", {"seed": "class:star", "method": "gradcam"}),
    "guided": ("shapes.yaml", "shapes_04.png", {"method": "guided"}),
    "lrp": ("vit.yaml", "shapes_04.png", {"method": "lrp"}),
    "integrated": ("shapes.yaml", "shapes_04.png", {"method": "integrated-gradients"}),
    "blurred": (
        *("shapes.yaml", "shapes_04.png"),
        {"method": "integrated-gradients", "baseline": "blur"},
    ),
    "smoothgrad": ("shapes.yaml", "shapes_04.png", {"seed": "top:2", "method": "smoothgrad"}),
    "box": ("boxes.yaml", "shapes_04.png", {"seed": "box:0"}),
    "box, smoothgrad": ("boxes.yaml", "shapes_04.png", {"seed": "box:0", "method": "smoothgrad"}),
    "box, integrated": (
        *("boxes.yaml", "shapes_04.png"),
        {"seed": "box:0", "method": "integrated-gradients"},
    ),
    "side": ("boxes.yaml", "shapes_04.png", {"seed": "box:1:x0 + box:1:x1"}),
    "object": ("boxes.yaml", "shapes_04.png", {"seed": "object:star"}),
    "vit": ("vit.yaml", "shapes_04.png", {}),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_command_writes_what_is_shown_to_the_last_byte(gradviz: Gradviz, name: str) -> None:
    model, image, asked = QUESTIONS[name]
    writes_what_is_shown(gradviz, session_of(model, image), asked)


@pytest.mark.parametrize("name", ["smoothgrad", "integrated", "box, smoothgrad"])
def test_a_model_that_is_not_to_be_optimised_is_not(gradviz: Gradviz, name: str) -> None:
    model, image, asked = QUESTIONS[name]
    writes_what_is_shown(gradviz, not_optimised(session_of(model, image)), asked)


@pytest.mark.parametrize("method", ["gradient", "smoothgrad"])
def test_an_output_that_need_not_be_boxes_is_asked_for_one(gradviz: Gradviz, method: str) -> None:
    session = session_of(str(script(Cells(classes=80), Path("cells.ts").absolute())), "room_01.png")
    (explored,) = session.models
    assert explored.model(torch.rand(1, 3, 64, 64)).shape == (1, 84, 256)  # as of YOLO
    writes_what_is_shown(gradviz, session, {"seed": "box:0", "method": method})


def test_names_that_look_like_options_are_none_in_the_command(gradviz: Gradviz) -> None:
    script(dense(), Path("-m.ts"))
    shutil.copy(IMAGES / "room_01.png", "-x.png")
    explored = ExploredModel("-m.ts", load_model("-m.ts"), Preprocess())
    session = Session([explored], find_images(["."], None).sources, Path("out"))
    assert session.images == ["-x.png"]
    writes_what_is_shown(gradviz, session, {"seed": "pixel:3,4"})


def writes_what_is_shown(gradviz: Gradviz, session: Session, asked: dict[str, Any]) -> None:
    answers = Answers(session)
    question = Question(client="tab", number=1, **asked)
    engine = answers.engine(0)
    another = question.model_copy(update={"seed": "" if question.seed else "ones"})
    for each in (question, another, question):  # a forward pass may be kept
        header, arrays = unpacked(answers.ask(each, task()))
    shown = engine.attribution(question, lambda step: None).array
    result = gradviz(*shlex.split(header["command"])[1:], "-o", "out", "--json")
    assert result.exit_code == 0, result.stderr
    (line,) = json.loads(result.stdout)["results"]
    written = np.load(Path("out") / line["files"][header["arrays"][0]["name"]])
    assert written.dtype == shown.dtype
    assert written.tobytes() == shown.tobytes()
    assert header["seed"] == line["seed"]
    assert header["score"] == line["score"]
    halves, scale = in_halves(written)
    (packed,) = arrays.values()
    whole = halves.astype(np.float64) * scale
    assert (packed == whole.reshape(packed.shape)).all()


def test_detections_are_chosen_by_the_rule_of_the_command(gradviz: Gradviz) -> None:
    plain = session_of("boxes.yaml", "shapes_04.png")
    low = replace(plain, rule=Suppression(score=0.01), rule_options=["--box-score", "0.01"])
    most, few = (Answers(each).engine(0).output(0, max).detections for each in (low, plain))
    assert len(most) > len(few)
    question = Question(client="tab", number=1, seed=f"box:{len(few)}")
    header, _ = unpacked(Answers(low).ask(question, task()))
    assert header["score"] == pytest.approx(most[len(few)].score)
    assert header["score"] < 0.25
    result = gradviz(*shlex.split(header["command"])[1:], "-o", "out", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["results"][0]["score"] == header["score"]
    header, _ = unpacked(Answers(low).ask(question.model_copy(update={"seed": "ones"}), task()))
    assert "--box-score" not in header["command"]


@pytest.mark.parametrize("kind", ["sample", "cells", "queries"])
def test_detections_have_no_reaction(kind: str) -> None:
    session = session_of("boxes.yaml", "shapes_04.png")
    nets = {"cells": Cells(), "queries": queries_net()}
    if kind in nets:
        model = gradviz.wrap(nets[kind], labels=["lamp", "cat", "dog"])
        session = replace(session, models=[replace(session.models[0], model=model)])
    answers = Answers(session)
    header, _ = unpacked(answers.output(OutputAsked(client="tab", number=1), task()))
    assert header["kind"] == "boxes"
    for number in (2, 3):
        with pytest.raises(SeedError, match=r"^reacts:5,4: .* detections, .*: point at a box"):
            answers.ask(Question(client="tab", number=number, seed="reacts:5,4"), task())


def test_a_pixel_of_a_large_image_is_that_of_the_shell(gradviz: Gradviz) -> None:
    answers = Answers(session_of("depth.ts", "room_01.png", resize=1024))
    for n, seed in enumerate(("pixel:500,500", "pixel:508,532", "pixel:3,1000")):
        question = Question(client="tab", number=n, seed=seed)
        header, arrays = unpacked(answers.ask(question, task()))
        assert header["tiles"] == 1
        assert header["parts"] == "proved"
        words = shlex.split(header["command"])[1:]
        assert gradviz(*words, "-o", f"out{n}", "--view", "heatmap").exit_code == 0
        folder = Path(f"out{n}") / "room_01.png" / seed.replace(":", "-").replace(",", "-")
        written = np.load(folder / "gradient.npy")
        found = answers.engine(0).attribution(question, lambda step: None)
        assert written.tobytes() == found.array.tobytes()
        x0, y0, x1, y1 = header["arrays"][0]["window"]
        assert not np.delete(written[:, y0:y1].any((0, 1)), slice(x0, x1)).any()
        assert np.allclose(arrays["gradient"], written, atol=2.0**-11 * np.abs(written).max())


def test_a_large_output_is_put_together_from_parts(gradviz: Gradviz) -> None:
    answers = Answers(session_of("depth.ts", "room_01.png", resize=1024))
    engine, parts = answers.engine(0), list[int]()
    found = engine.output(0, lambda done, every: parts.append(done))
    assert parts == [0, 1, 2, 3]
    model, prepared = engine.model, engine.image(0).prepared
    whole = model(prepared.tensor[None])[0]
    assert found.planes is not None
    assert np.allclose(found.planes, whole, rtol=1e-5, atol=1e-5)


def test_what_was_saved_is_a_run_that_compare_and_report_read(gradviz: Gradviz) -> None:
    answers = Answers(session_of("depth.ts", "room_01.png"))
    asked = SaveAsked(client="tab", number=1, seed="pixel:64,48", views=["signed"], clip=95)
    found = answers.save(asked, task())
    assert found["folder"] == "out/001"
    assert answers.save(asked, task())["folder"] == "out/002"
    words = shlex.split(str(found["command"]))[1:]
    assert gradviz(*words, "--overwrite").exit_code == 0  # the command is the one that was run
    assert gradviz("compare", "out/001", "out/002", "--tolerance", "0").exit_code == 0
    assert gradviz("report", "out/001", "out/002", "-o", "page.html").exit_code == 0
    pictures = [Path(f"out/00{n}/room_01.png/pixel-64-48/signed.png").read_bytes() for n in (1, 2)]
    assert pictures[0] == pictures[1]


def test_from_python_what_is_shown_is_what_the_call_returns() -> None:
    model = gradviz.load_model(MODELS / "shapes.yaml")
    with gradviz.explore(model, IMAGES / "shapes_04.png") as page:
        _, header, arrays = Browser(page.address).ask("top", method="smoothgrad")
    (found,) = eval(header["command"], {"gradviz": gradviz, "model": model})
    halves, scale = in_halves(found.array)
    (packed,) = arrays.values()
    assert (packed == (halves.astype(np.float64) * scale).reshape(packed.shape)).all()
    assert found.score == header["score"]
    join_workers()


def test_from_python_the_call_is_recorded_and_reported(gradviz: Gradviz) -> None:
    model = load_model(MODELS / "depth.ts")
    with explore(model, IMAGES / "room_01.png", out="out") as page:
        browser = Browser(page.address)
        call = browser.ask("pixel:64,48")[1]["command"]
        saved = browser.post("/save", client="tab", number=9, seed="pixel:64,48")[1]
    assert call == f"gradviz.saliency(model, {str(IMAGES / 'room_01.png')!r}, seed='pixel:64,48')"
    assert saved["command"] == call
    assert json.loads(Path("out/001/run.json").read_text())["command"] == [call]
    words = ("saliency", MODELS / "depth.ts", IMAGES / "room_01.png", "--seed", "pixel:64,48")
    assert gradviz(*words, "-o", "shell").exit_code == 0
    assert gradviz("compare", "out/001", "shell", "--tolerance", "0").exit_code == 0
    assert gradviz("report", "out/001", "-o", "page.html").exit_code == 0
    assert call in html.unescape(Path("page.html").read_text())
    join_workers()


def test_from_python_the_page_is_there_at_once_and_gone_when_closed() -> None:
    model = gradviz.load_model(MODELS / "depth.ts")
    page = gradviz.explore(model, IMAGES / "room_01.png")
    browser = Browser(page.address)
    _, header, _ = browser.ask("pixel:64,48", method="input-x-gradient")
    image = str(IMAGES / "room_01.png")
    expected = f"gradviz.saliency(model, {image!r}, seed='pixel:64,48', method='input-x-gradient')"
    assert header["command"] == expected
    (found,) = eval(header["command"], {"gradviz": gradviz, "model": model})
    assert found.score == header["score"]
    page.close()
    join_workers()
    with pytest.raises(OSError):
        browser.ask("pixel:1,1")


@pytest.mark.parametrize("kind", ["picture", "tensor"])
def test_from_python_an_image_need_not_be_a_file(kind: str, tmp_path: Path) -> None:
    model, against = dense(), dense()
    for weights in against.parameters():
        weights.data.mul_(-2)
    random = np.random.default_rng(0)
    images = (
        Image.fromarray(random.integers(0, 256, (20, 24, 3), np.uint8))
        if kind == "picture"
        else torch.from_numpy(random.normal(size=(3, 20, 24)))
    )
    with gradviz.explore(model, images, against, out=tmp_path / "out") as page:
        browser = Browser(page.address)
        name = "image" if kind == "picture" else "tensor"
        assert browser.post("/session")[1]["images"] == [{"name": name}]
        for place, variable in enumerate(("model", "against")):
            _, header, arrays = browser.ask("pixel:3,4", model=place)
            assert header["command"] == f"gradviz.saliency({variable}, images, seed='pixel:3,4')"
            known = {"gradviz": gradviz, "model": model, "against": against, "images": images}
            (found,) = eval(header["command"], known)
            assert found.score == header["score"]
            largest = np.abs(found.array).max()
            assert largest > 0
            np.testing.assert_allclose(arrays["gradient"], found.array, atol=largest / 1000)
        refused = browser.post("/save", client="tab", number=9, seed="pixel:3,4")[1]["error"]
        assert refused["message"] == "the image is in no file: copy the command, or explore a file"
        assert not (tmp_path / "out").exists()
    join_workers()


def test_two_models_share_images_and_options(gradviz: Gradviz) -> None:
    first, second = script(dense(), Path("a.ts")), script(dense(), Path("b.ts"))
    with serving(first, IMAGES / "room_01.png", "--against", second, "--resize", "64") as browser:
        session = browser.post("/session")[1]
        assert [model["name"] for model in session["models"]] == ["a.ts", "b.ts"]
        for model, name in enumerate(("a.ts", "b.ts")):
            _, header, arrays = browser.ask("pixel:3,4", model=model)
            words = ["gradviz", "saliency", name, str(IMAGES / "room_01.png"), "--resize", "64"]
            assert shlex.split(header["command"]) == [*words, "--seed", "pixel:3,4"]
            assert arrays["gradient"].shape == (3, 64, 64)


def test_no_optimize_reaches_what_is_shown_and_saved(gradviz: Gradviz) -> None:
    words = (MODELS / "shapes.yaml", IMAGES / "shapes_04.png", "--no-optimize", "-o", "out")
    with serving(*words) as browser:
        browser.post("/save", client="tab", number=1, seed="top", method="smoothgrad")
        command = browser.ask("top", method="smoothgrad")[1]["command"]
    assert gradviz(*shlex.split(command)[1:], "-o", "again").exit_code == 0
    for folder in ("out/001", "again"):
        run = json.loads(Path(folder, "run.json").read_text())
        assert run["settings"]["optimize"] is False
        assert run["model"]["optimized"] is False


class Browser:
    """What the page does, over a real socket."""

    def __init__(self, address: str) -> None:
        self.home = address.partition("/?")[0]
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar())
        )
        self._number = 0
        assert self._opener.open(address, timeout=60).status == 200

    def post(self, path: str, **asked: Any) -> tuple[str, Any]:
        headers = {"Content-Type": "application/json", "Origin": self.home}
        body = json.dumps(asked).encode()
        request = urllib.request.Request(self.home + path, body, headers)
        with self._opener.open(request, timeout=60) as answer:
            kind = answer.headers["content-type"]
            content = answer.read()
        return kind, json.loads(content) if kind == "application/json" else unpacked(content)

    def fails(self, path: str) -> None:
        """Ask what is never answered, for the server ends."""
        with suppress(OSError, http.client.HTTPException):
            self.post(path, client="tab", number=1)

    def ask(self, seed: str, **asked: Any) -> tuple[str, Any, Any]:
        self._number += 1
        kind, (header, arrays) = self.post(
            "/ask", client="tab", number=self._number, seed=seed, **asked
        )
        return kind, header, arrays


@contextmanager
def started(*words: str | Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`gradviz explore WORDS` in a process of its own."""
    code = f"{processes.INTERRUPTIBLE}\nfrom gradviz.__main__ import main\nmain()"
    command = [sys.executable, "-c", code, "explore", *map(str, words), "--no-browser"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("SSH_")}, **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def serving(*words: str | Path, **environment: str) -> Iterator[Browser]:
    with started(*words, **environment) as process:
        assert process.stdout is not None
        yield Browser(process.stdout.readline().strip())


def interrupted(process: subprocess.Popen[str]) -> tuple[str, float]:
    before = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    return stderr, time.monotonic() - before


@pytest.mark.process
def test_a_forged_request_over_a_real_socket_is_refused(gradviz: Gradviz) -> None:
    with serving(MODELS / "depth.ts", IMAGES / "room_01.png") as browser:
        host, _, port = browser.home.removeprefix("http://").partition(":")
        assert host == "127.0.0.1"
        for method, path, headers in (
            ("GET", "/", {}),
            ("GET", "/?token=guess", {}),
            ("GET", "/web/index.html", {"Host": f"evil.example:{port}"}),
            ("GET", "/../../etc/passwd", {}),
            ("POST", "/session", {"Origin": "http://evil.example"}),
            ("POST", "/session", {"Origin": browser.home}),
        ):
            with closing(http.client.HTTPConnection(host, int(port), timeout=30)) as connection:
                connection.request(method, path, b"{}" if method == "POST" else None, headers)
                with connection.getresponse() as answer:
                    assert answer.status == 403, (method, path)
                    assert answer.getheader("Set-Cookie") is None
                    assert answer.getheader("Server") is None
        assert browser.post("/session")[1]["images"] == [{"name": "room_01.png"}]


SLOW = """
def forward(self, x):
    y = x
    for i in range(100000000):
        y = torch.sin(y)
    return y
"""


@pytest.mark.process
def test_ctrl_c_ends_it_at_once_also_during_a_pass(gradviz: Gradviz) -> None:
    class Slow(torch.jit.ScriptModule):
        pass

    slow = Slow()
    slow.define(SLOW)
    torch.jit.save(slow, "slow.ts")
    with started("slow.ts", IMAGES / "room_01.png") as process:
        assert process.stdout is not None
        browser = Browser(process.stdout.readline().strip())
        # Asked in a thread: the answer never comes.
        asking = threading.Thread(target=browser.fails, args=("/output",), daemon=True)
        asking.start()
        # The pass is this question's own, or that of the answer which the server prepares.
        wait_until(lambda: browser.post("/progress", client="tab")[1]["text"])
        time.sleep(0.5)  # inside the loop
        stderr, seconds = interrupted(process)
        assert process.returncode == 130
        assert seconds < 3
        assert stderr.splitlines()[-1] == "closed"
        asking.join(10)


@pytest.mark.process
def test_over_ssh_it_says_how_to_forward_the_port(gradviz: Gradviz) -> None:
    with started(MODELS / "depth.ts", IMAGES / "room_01.png", SSH_CONNECTION="1 2 3 4") as process:
        assert process.stdout is not None
        port = process.stdout.readline().partition("/?")[0].rpartition(":")[2]
        stderr, _ = interrupted(process)
        assert f"run ssh -L {port}:127.0.0.1:{port} HOST, and open this address:" in stderr


@pytest.mark.parametrize(
    ("host", "number", "near", "change"),
    [
        ("0", "0.0.0.0", "127.0.0.1", ""),
        ("localhost", "127.0.0.1", "127.0.0.1", ""),
        ("::1", "::1", "[::1]", ""),
        ("10.0.0.5", "10.0.0.5", "10.0.0.5", " with 127.0.0.1 in place of 10.0.0.5"),
        ("here.local", "10.0.0.5", "10.0.0.5", " with 127.0.0.1 in place of here.local"),
    ],
)
def test_the_port_is_forwarded_to_where_the_page_is(
    gradviz: Gradviz,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    number: str,
    near: str,
    change: str,
) -> None:
    class Elsewhere(socket.socket):
        """A socket of a machine that has this address."""

        def getsockname(self) -> Any:
            return number, super().getsockname()[1]

    def listen(*_: object) -> socket.socket:
        made = Elsewhere()
        made.bind(("127.0.0.1", 0))
        made.listen()
        return made

    monkeypatch.setenv("SSH_TTY", "/dev/pts/1")
    monkeypatch.setattr("gradviz.commands.explore.serve._listen", listen)
    monkeypatch.setattr("gradviz.commands.explore.serve.Serving.wait", Serving.close)
    words = ("explore", MODELS / "depth.ts", IMAGES / "room_01.png", "--host", host)
    result = gradviz(*words, "--json")
    assert result.exit_code == 0, result.stderr
    port = json.loads(result.stdout)["port"]
    expected = f"run ssh -L {port}:{near}:{port} HOST, and open this address{change}:"
    assert expected in result.stderr
    join_workers()


@pytest.mark.process
@pytest.mark.parametrize("everywhere", ["0.0.0.0", "0"])
def test_a_page_that_others_can_reach_is_warned_about(gradviz: Gradviz, everywhere: str) -> None:
    with started(MODELS / "depth.ts", IMAGES / "room_01.png", "--host", everywhere) as process:
        assert process.stdout is not None
        browser = Browser(process.stdout.readline().strip())
        assert browser.home.startswith("http://127.0.0.1:")
        assert browser.ask("pixel:1,1")[1]["seed"] == "pixel:1,1"
        stderr, _ = interrupted(process)
        assert f"warning: --host {everywhere}: other machines reach the page" in stderr


@pytest.mark.process
@pytest.mark.parametrize("library", ["starlette", "uvicorn"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(library: str) -> None:
    before = f"import sys; sys.modules[{library!r}] = None"
    words = ("explore", MODELS / "depth.ts", IMAGES / "room_01.png")
    done = processes.gradviz(*words, before=before)
    assert done.returncode == 3
    expected = f"error: explore needs {library}: pip install 'gradviz[explore]'\n"
    assert done.stderr == expected
    assert done.stdout == ""


def test_an_address_that_is_taken_is_refused(gradviz: Gradviz) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ("explore", MODELS / "depth.ts", IMAGES / "room_01.png", "--no-browser")
        result = gradviz(*words, "--port", port)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: --host 127.0.0.1 --port {port}: cannot listen there")
    assert len(result.stderr.splitlines()) == 1
    assert "another --port" in result.stderr


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a" * 70 + ".b"])
def test_an_address_of_another_machine_is_refused(gradviz: Gradviz, host: str) -> None:
    words = ("explore", MODELS / "depth.ts", IMAGES / "room_01.png", "--no-browser")
    result = gradviz(*words, "--host", host)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: --host {host} --port 0: cannot listen there")
    assert result.stderr.endswith("; give an address of this machine\n")


@pytest.mark.process
def test_the_address_is_printed_though_messages_are_not() -> None:
    with started(MODELS / "depth.ts", IMAGES / "room_01.png", "--quiet") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        assert interrupted(process)[0] == ""


@pytest.mark.process
def test_json_names_the_address(gradviz: Gradviz) -> None:
    with started(MODELS / "depth.ts", IMAGES / "room_01.png", "--json") as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "}\n")
        found = json.loads("".join(lines) + "}")
        assert (found["schema"], found["kind"], found["host"]) == (1, "explore", "127.0.0.1")
        assert found["address"].startswith(f"http://127.0.0.1:{found['port']}/?token=")
