"""The page of `gradviz explore`: from a question to its answer in the server."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch
from PIL import Image

import gradviz
from benchmarks.measurement import Measurement
from gradviz.model.model import Model

ROOT = Path(__file__).parents[1]
DEPTH = ROOT / "sample_models" / "depth.ts"
PHOTO = ROOT / "sample_images" / "room_02.png"

WARM, QUESTIONS, ROUNDS = 40, 60, 3
ALLOWED = 0.015
"""The seconds that an answer may take beside its pass."""


def measurements() -> Iterator[Measurement]:
    """A pixel's gradient on the depth model, at two sizes."""
    for side in (128, 2048):
        rounds = [asked(side) for _ in range(ROUNDS)]
        what = f"a pixel of the depth model at {side}², from question to answer"
        passes = "the backward pass" if side == 128 else "both passes of its crop"
        yield Measurement(
            f"{what}, less 15 ms",
            passes,
            tuple((answer - ALLOWED) / bare for answer, bare in rounds),
            "×",
            most=1.3,
            remark=", ".join(f"{1e3 * a:.1f} ms, bare {1e3 * b:.1f} ms" for a, b in rounds),
        )


def asked(side: int) -> tuple[float, float]:
    """The median seconds of an answer, and of the bare pass that it needs, in turns."""
    model = gradviz.load_model(DEPTH)
    random = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        file = Path(folder, "photo.png")
        Image.open(PHOTO).convert("RGB").resize((side, side)).save(file)
        image = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None].float() / 255
        bare = bare_pass(model, image, side)
        with gradviz.explore(model, file, preprocess="none") as page:
            question = asking(page.address)
            answers, passes = list[float](), list[float]()
            for _ in range(WARM + QUESTIONS):
                x, y = (int(n) for n in random.integers(side // 4, 3 * side // 4, 2))
                for work, taken in ((question, answers), (bare, passes)):
                    started = perf_counter()
                    work(x, y)
                    taken.append(perf_counter() - started)
    return median(answers[WARM:]), median(passes[WARM:])


def bare_pass(model: Model, image: torch.Tensor, side: int) -> Callable[[int, int], object]:
    """The pass that a pixel needs: backward alone if the image is small, else that of its crop."""
    if side <= 512:
        whole = image.clone().requires_grad_()
        output = model(whole)

        def backward(x: int, y: int) -> object:
            return torch.autograd.grad(output[0, 0, y, x], whole, retain_graph=True)

        return backward

    def both(x: int, y: int) -> object:
        left, top = (max(0, (n - 60) // 8 * 8) for n in (x, y))
        crop = image[..., top : top + 128, left : left + 128].clone().requires_grad_()
        return torch.autograd.grad(model(crop)[0, 0, y - top, x - left], crop)

    return both


def asking(address: str) -> Callable[[int, int], object]:
    """A function that asks the page's server about a pixel, over one connection."""
    home, _, path = address.partition("/?")
    connection = http.client.HTTPConnection(home.removeprefix("http://"))
    connection.request("GET", f"/?{path}")
    with closing(connection.getresponse()) as entered:
        cookie = str(entered.getheader("set-cookie")).partition(";")[0]
        entered.read()
    headers = {"Content-Type": "application/json", "Origin": home, "Cookie": cookie}
    number = 0

    def ask(x: int, y: int) -> object:
        nonlocal number
        number += 1
        asked = {"client": "benchmark", "number": number, "seed": f"pixel:{x},{y}"}
        connection.request("POST", "/ask", json.dumps(asked), headers)
        answer = connection.getresponse()
        if answer.getheader("content-type") != "application/octet-stream":
            raise RuntimeError(answer.read().decode())
        return answer.read()

    return ask
