"""The page in a browser: what is seen, moved and pressed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gradviz.commands.report.inputs import read_input
from gradviz.commands.report.page import report
from gradviz.heatmap.colours import load_palette
from gradviz.heatmap.views import VIEWS
from tests.helpers import runs
from tests.helpers.browsing import call, hover, launched, pixels
from tests.helpers.formats import script

pytestmark = pytest.mark.browser


INNER = """mark => {
  const { x, y, width, height } = mark.getBBox();
  const sheet = mark.ownerSVGElement;
  const [frame, all] = [sheet.getBoundingClientRect(), sheet.viewBox.baseVal];
  const [across, down] = [frame.width / all.width, frame.height / all.height];
  return { x: frame.x + x * across, y: frame.y + y * down,
           width: width * across, height: height * down };
}"""
"""The place of a group of lines on the screen, without the width of the lines."""


@pytest.fixture(scope="module")  # two at once in one process disturb each other
def browser() -> Iterator[Any]:
    yield from launched()


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Write the report of runs and documents and open it.

    Afterwards: the console was silent, and nothing but the file itself was asked for.
    """
    said: list[str] = []
    asked: list[str] = []
    file = tmp_path / "page.html"
    opened = []

    def open_page(*told: Path, width: int = 1280, dark: bool = False) -> Any:
        file.write_text(
            report([read_input(str(each)) for each in told], images=True).html, encoding="utf-8"
        )
        scheme = "dark" if dark else "light"
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(60_000)  # a busy machine is no failure
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        opened.append(page)
        return page

    yield open_page
    for page in opened:
        page.close()
    assert said == []
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} <= {file.as_uri()}


def drawn(canvas: Any, how: str = "") -> Any:
    """The canvas, once it is drawn."""
    canvas.page.wait_for_function(
        "([canvas, how]) => canvas.dataset.drawn?.startsWith(how)",
        arg=[canvas.element_handle(), how],
    )
    return canvas


def read_out(page: Any, output: Any, before: str = "") -> str:
    page.wait_for_function(
        "([output, before]) => output.value !== before", arg=[output.element_handle(), before]
    )
    return str(output.evaluate("output => output.value"))


def cards(page: Any) -> list[str]:
    found: list[str] = page.locator(".cards .image").all_inner_texts()
    return found


RANDOM = np.random.default_rng(0)
G = RANDOM.normal(size=(3, 6, 8)).astype(np.float32)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made: Path = runs.saliency_run(
        tmp_path / "run",
        {
            ("a.png", "ones"): G,
            ("a.png", "top"): 10 * G,
            ("b10.png", "ones"): 4 * G,
            ("b9.png", "ones"): 3 * G,
        },
        pictures={"a.png": runs.picture(tmp_path / "a.png", 8, 6)},
        lines={("b9.png", "ones"): {"warnings": ["dim"]}},
    )
    return made


# The gallery


def test_the_box_of_a_detection_is_outlined(tmp_path: Path, open_page: Open) -> None:
    """The input is 8x6 pixels, and the box lies from 2, 3 to 6, 6."""
    found = {"index": 1, "label": "cat", "score": 0.5, "box": None, "box_in_input": [2, 3, 6, 6]}
    run = runs.saliency_run(
        tmp_path / "run",
        {("a.png", "box:0"): G, ("a.png", "ones"): G},
        lines={("a.png", "box:0"): {"detection": found}},
    )
    page = open_page(run)
    (card, other) = page.locator(".cards li").all()
    assert "class 1 (cat), score 0.5, box 2.0, 3.0, 6.0, 6.0 of the input" in card.inner_text()
    assert other.locator(".asked").count() == 0

    def within(mark: Any, canvas: Any) -> list[float]:
        inner, outer = mark.evaluate(INNER), canvas.bounding_box()
        return [
            (inner["x"] - outer["x"]) / outer["width"],
            (inner["y"] - outer["y"]) / outer["height"],
            (inner["x"] + inner["width"] - outer["x"]) / outer["width"],
            (inner["y"] + inner["height"] - outer["y"]) / outer["height"],
        ]

    expected = pytest.approx([0.25, 0.5, 0.75, 1], abs=0.03)
    assert within(card.locator(".asked"), drawn(card.locator("canvas").first)) == expected
    card.locator("button").first.click()
    stage = page.locator("dialog .stage")
    assert within(stage.locator(".asked"), drawn(stage.locator("canvas"))) == expected
    page.keyboard.press("ArrowRight")
    assert stage.locator(".asked").is_hidden()


def test_the_answer_is_shown_beside_the_map(
    models: Path, images: Path, tmp_path: Path, run: Path, open_page: Open
) -> None:
    out, image = tmp_path / "out", images / "shapes_01.png"
    call("saliency", models / "shapes.yaml", image, "--view", "output", "-o", out)
    page = open_page(out, run)
    page.locator(".cards button").last.click()
    answered = page.locator("dialog .answered")
    img = answered.locator("img")
    page.wait_for_function("img => img.naturalWidth > 0", arg=img.element_handle())
    with Image.open(out / "shapes_01.png/top/output.png") as written:
        assert img.evaluate("img => [img.naturalWidth, img.naturalHeight]") == [*written.size]
    (line,) = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    assert img.get_attribute("alt") == "; ".join(line["output"]["lines"])
    page.keyboard.press("ArrowLeft")
    assert answered.is_hidden()  # the other run has none


def test_every_result_is_shown_and_has_a_name(run: Path, open_page: Open) -> None:
    page = open_page(run)
    assert cards(page) == ["a.png", "a.png", "b9.png", "b10.png"]
    assert page.locator(".count").first.inner_text() == "4 of 4 results"
    for canvas in page.locator(".cards figure > button > canvas").all():
        assert len(np.unique(pixels(drawn(canvas)).reshape(-1, 3), axis=0)) > 20
        label = canvas.get_attribute("aria-label")
        assert re.fullmatch(r"heatmap of [ab]\d*.png, seed (ones|top), scale [\d.]+", label)


@pytest.fixture(scope="module")
def views(models: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("views") / "out"
    named = [word for view in VIEWS for word in ("--view", view)]
    call("saliency", models / "shapes.yaml", images / "shapes_01.png", "--resize", 32, *named,
         "-o", out)  # fmt: skip
    return out


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_drawn_as_the_run_draws_it(views: Path, open_page: Open, view: str) -> None:
    page = open_page(views)
    page.select_option("form [name=view]", view)
    found = pixels(drawn(page.locator(".cards figure > button > canvas"), view)).astype(float)
    written = np.asarray(Image.open(views / f"shapes_01.png/top/{view}.png"), float)
    # The 16-bit steps may tip a value into the neighbouring colour; under an overlay is a JPEG.
    under = VIEWS[view].over_input
    assert np.abs(found - written).max() <= (24 if under else 6)
    assert np.abs(found - written).mean() < (2 if under else 0.05)


def test_a_layers_map_is_enlarged_as_the_run_does(
    models: Path, images: Path, tmp_path: Path, open_page: Open
) -> None:
    out = tmp_path / "out"
    call("saliency", models / "shapes.yaml", images / "shapes_01.png", "--method", "gradcam",
         "-o", out)  # fmt: skip
    page = open_page(out)
    found = pixels(drawn(page.locator(".cards figure > button > canvas"))).astype(float)
    written = np.asarray(Image.open(out / "shapes_01.png/top/heatmap.png"), float)
    assert found.shape == written.shape
    assert np.abs(found - written).max() <= 6


def test_the_slider_fades_from_the_input_to_the_map(
    tmp_path: Path, run: Path, open_page: Open
) -> None:
    page = open_page(run)
    canvas = page.locator(".cards figure > button > canvas").first
    heat = pixels(drawn(canvas)).astype(float)
    slider = page.locator("form [name=fade]")
    page.evaluate("document.activeElement.blur()")
    slider.fill("0")
    page.wait_for_function("c => c.dataset.drawn.endsWith(' 0')", arg=canvas.element_handle())
    shown = pixels(canvas).astype(float)
    photo = np.asarray(Image.open(tmp_path / "a.png"), float)
    assert np.abs(shown - photo).mean() < 6  # a JPEG
    slider.fill("0.5")
    page.wait_for_function("c => c.dataset.drawn.endsWith(' 0.5')", arg=canvas.element_handle())
    assert np.abs(pixels(canvas) - (heat + shown) / 2).max() <= 2


def test_the_value_under_the_pointer_is_the_arrays(run: Path, open_page: Open) -> None:
    page = open_page(run)
    page.locator(".cards button").first.click()
    canvas, output = page.locator("dialog .stage canvas"), page.locator("dialog output.value")
    drawn(canvas)
    steps = json.loads(page.locator("#data").inner_text())["maps"][0]["error"]
    assert steps == pytest.approx(3 * np.abs(G).max() / 32767 / 2)
    said = ""
    for x, y in ((0, 0), (7, 5), (3, 2)):
        hover(canvas, x, y, (8, 6))
        said = read_out(page, output, said)
        place, _, value = said.partition(": ")
        assert place == f"x {x}, y {y}"
        assert float(value) == pytest.approx(np.abs(G[:, y, x]).sum(), abs=steps, rel=1e-5)
    page.locator("[data-view=rgb]").click()
    hover(canvas, 4, 1, (8, 6))
    said = read_out(page, output, said)
    values = [float(value) for value in said.partition(": ")[2].split(", ")]
    assert values == pytest.approx(G[:, 1, 4].tolist(), abs=steps)


def test_a_tall_map_is_hit_where_it_is_drawn(tmp_path: Path, open_page: Open) -> None:
    tall = RANDOM.normal(size=(1, 90, 3)).astype(np.float32)
    page = open_page(runs.saliency_run(tmp_path / "run", {("a.png", "s"): tall}))
    canvas, output = page.locator(".cards canvas").first, page.locator(".cards output")
    drawn(canvas)
    hover(canvas, 2, 80, (3, 90))
    said = read_out(page, output)
    assert said.startswith("x 2, y 80: ")
    assert float(said.partition(": ")[2]) == pytest.approx(abs(tall[0, 80, 2]), abs=1e-3)
    box = canvas.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(3 / 90, rel=0.1)


def test_maps_in_cells_tell_the_means(
    tmp_path: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradviz.commands.report.page_data.SIDES", (4,))
    run = runs.saliency_run(tmp_path / "run", {("a.png", "s"): G})
    page = open_page(run)
    canvas, output = page.locator(".cards canvas").first, page.locator(".cards output")
    assert drawn(canvas).evaluate("c => [c.width, c.height]") == [4, 3]
    hover(canvas, 2, 1, (4, 3))
    place, _, value = read_out(page, output).partition(": ")
    assert place == "x 4–5, y 2–3"
    assert float(value) == pytest.approx(np.abs(G[:, 2:4, 4:6]).sum() / 4, rel=1e-3)
    assert page.locator("[data-view=rgb]").is_disabled() is False  # until a map is open
    page.locator(".cards button").click()
    assert page.locator("[data-view=rgb]").is_disabled()


def test_what_is_not_finite_is_green(tmp_path: Path, open_page: Open) -> None:
    broken = G.copy()
    broken[1, 2, 3] = np.nan
    page = open_page(runs.saliency_run(tmp_path / "run", {("a.png", "s"): broken}))
    canvas = page.locator(".cards canvas").first
    green = (pixels(drawn(canvas)) == (0, 255, 0)).all(-1)
    assert np.argwhere(green).tolist() == [[2, 3]]
    hover(canvas, 3, 2, (8, 6))
    assert read_out(page, page.locator(".cards output")) == "x 3, y 2: NaN or Inf"


def test_a_shared_scale_draws_again_and_says_its_number(run: Path, open_page: Open) -> None:
    page = open_page(run)
    canvas = page.locator(".cards figure > button > canvas").first
    own = pixels(drawn(canvas))
    ends = page.locator(".cards .bar").first.locator("span")
    percentile = np.percentile(np.abs(G).sum(0), 99)
    assert float(ends.last.inner_text()) == pytest.approx(percentile, rel=1e-3)
    page.select_option("form [name=scale]", "shared")
    drawn(canvas, f"heatmap {4 * percentile:.3f}"[:-1])
    # b10.png has four times the gradient of a.png, under the same seed.
    assert float(ends.last.inner_text()) == pytest.approx(4 * percentile, rel=1e-3)
    table = load_palette().sequential_table
    t = np.clip(np.abs(G).sum(0) / (4 * percentile), 0, 1)
    assert np.abs(pixels(canvas) - table[np.round(254 * t).astype(int)]).max() <= 6
    assert not np.array_equal(own, pixels(canvas))
    page.select_option("form [name=view]", "signed")
    drawn(canvas, "signed")
    assert ends.first.inner_text().startswith("-")


def test_results_are_sorted_and_found(run: Path, open_page: Open) -> None:
    page = open_page(run)
    controls = page.locator(".gallery form")
    controls.locator("[name=sort]").select_option("score")
    controls.locator("[name=falling]").check()
    assert cards(page) == ["b9.png", "b10.png", "a.png", "a.png"]
    controls.locator("[name=sort]").select_option("warnings")
    assert cards(page)[0] == "b9.png"
    controls.locator("[name=from]").fill("1")
    controls.locator("[name=to]").fill("2")
    assert sorted(cards(page)) == ["a.png", "b10.png"]
    controls.locator("[name=seed]").select_option("ones")
    assert cards(page) == ["b10.png"]
    controls.locator("[name=from]").fill("")
    controls.locator("[name=to]").fill("")
    controls.locator("[name=image]").fill("B")
    assert sorted(cards(page)) == ["b10.png", "b9.png"]
    controls.locator("[name=warned]").select_option("with")
    assert cards(page) == ["b9.png"]
    controls.locator("[name=image]").fill("nothing like it")
    assert page.locator(".gallery .count").inner_text() == "0 of 4 results"


def test_the_keyboard_does_it_all(run: Path, open_page: Open) -> None:
    page = open_page(run)
    page.locator(".cards button").first.focus()
    page.keyboard.press("Enter")
    title, canvas = page.locator("dialog h3"), page.locator("dialog .stage canvas")
    drawn(canvas)
    assert title.inner_text().split() == ["a.png", "ones"]
    page.keyboard.press("ArrowRight")
    assert title.inner_text().split() == ["a.png", "top"]
    page.keyboard.press("2")
    drawn(canvas, "signed")
    page.keyboard.press("f")
    page.wait_for_function("c => c.dataset.drawn.endsWith(' 0')", arg=canvas.element_handle())
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    page.wait_for_function(
        "() => document.querySelector('dialog output.value').value.includes('y 2')"
    )
    said = page.locator("dialog output.value").evaluate("output => output.value")
    assert said.startswith("x 5, y 2: ")
    assert float(said.partition(": ")[2]) == pytest.approx(10 * G[:, 2, 5].sum(), abs=1e-2)
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.evaluate("document.activeElement.matches('.cards button')")


def test_the_cross_marks_the_place_of_the_keyboard(run: Path, open_page: Open) -> None:
    page = open_page(run)
    page.locator(".cards button").first.click()
    canvas, cross = drawn(page.locator("dialog .stage canvas")), page.locator("dialog .cross")
    assert cross.is_hidden()
    canvas.focus()
    for key, (x, y) in {"ArrowRight": (5, 3), "ArrowUp": (5, 2), "ArrowLeft": (4, 2)}.items():
        page.keyboard.press(key)
        assert cross.is_visible()
        on, mark = canvas.bounding_box(), cross.bounding_box()
        middle = mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2
        # On a canvas of 8 by 6 pixels, to a tenth of one.
        assert (middle[0] - on["x"]) / on["width"] * 8 == pytest.approx(x + 0.5, abs=0.1)
        assert (middle[1] - on["y"]) / on["height"] * 6 == pytest.approx(y + 0.5, abs=0.1)
    page.keyboard.press("Escape")
    page.locator(".cards button").nth(1).click()
    drawn(canvas)
    assert cross.is_hidden()


def test_a_thousand_results_open(tmp_path: Path, open_page: Open) -> None:
    arrays = {(f"{n:04}.png", "ones"): (n + 1) * G for n in range(1000)}
    page = open_page(runs.saliency_run(tmp_path / "run", arrays))
    assert len(cards(page)) == 48
    assert page.locator(".gallery .count").inner_text() == "1000 of 1000 results, page 1 of 21"
    drawn(page.locator(".cards canvas.map").first)
    heights = page.locator(".cards li").evaluate_all("all => all.map(one => one.offsetHeight)")
    assert len(set(heights)) == 1, "a card changes its height when it is drawn"
    page.get_by_role("button", name="next page").click()
    assert cards(page)[0] == "0048.png"
    page.select_option("form [name=view]", "signed")
    assert cards(page)[0] == "0048.png"
    drawn(page.locator(".cards canvas").first)
    page.locator("[name=image]").first.fill("0999")
    assert cards(page) == ["0999.png"]


def test_a_file_name_is_only_a_name(tmp_path: Path, open_page: Open) -> None:
    names = ["<img src=x onerror=alert(1)>.png", "</script><script>alert(1)</script>", "{{7*7}}"]
    run = runs.saliency_run(
        tmp_path / "run",
        {(name, f"mask:{name}"): G for name in names},
        lines={(name, f"mask:{name}"): {"warnings": [name]} for name in names},
        failures={(name, "ones"): name for name in names},
    )
    page = open_page(run)
    assert sorted(cards(page)) == sorted(names)
    page.locator(".cards button").first.click()
    drawn(page.locator("dialog .stage canvas"))
    assert page.locator("img:not(.answered img)").count() == 0
    assert page.locator("dialog h3 bdi").first.inner_text() in names


def test_without_its_picture_a_map_stands_alone(run: Path, open_page: Open) -> None:
    page = open_page(run)
    page.locator(".cards button").last.click()  # b10.png is gone
    assert page.locator("dialog [name=fade]").is_disabled()
    assert "b10.png: /gone/forever.png: no such file" in page.locator("#remarks").inner_text()
    page.locator("dialog [data-view=overlay]").click()
    assert pixels(drawn(page.locator("dialog .stage canvas"), "overlay")).any()


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_it_without_sideways_scrolling(
    run: Path, open_page: Open, dark: bool
) -> None:
    page = open_page(run, width=360, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    level = np.mean([int(number) for number in re.findall(r"\d+", ground)])
    assert level < 60 if dark else level > 200
    page.locator(".cards button").first.click()
    assert page.locator("dialog").bounding_box()["width"] == 360


# Receptive fields


@pytest.fixture(scope="module")
def fields(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fields of a network of stride 2, at 48 by 48 pixels."""
    folder = tmp_path_factory.mktemp("fields")
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 5, padding=2), nn.Tanh(), nn.Conv2d(4, 1, 5, stride=2, padding=2)
    )
    call(
        "receptive-field", script(net, folder / "net.ts"), images / "room_01.png", "--resize", 48,
        "--layers", "--map", "--pixel", "15,10", "--pixel", "0,23", "-o", folder / "out",
    )  # fmt: skip
    return folder / "out"


def shown_box(text: str) -> list[int]:
    (box,) = re.findall(r"\[([^]]+)\]", text)
    return [int(number) for number in box.split(", ")]


def test_the_explorers_box_is_that_of_field_json(fields: Path, open_page: Open) -> None:
    page = open_page(fields)
    output = page.locator(".explorer output")
    said = ""
    for n, field in enumerate(json.loads((fields / "field.json").read_text())["fields"]):
        page.select_option(".explorer [name=field]", str(n))
        drawn(page.locator(".explorer canvas"), f"{n} ")
        said = read_out(page, output, said)
        assert shown_box(said) == field["box"]
        x0, y0, x1, y1 = field["box"]
        rectangle = page.locator(".marks .box").evaluate(
            "r => ['x', 'y', 'width', 'height'].map(name => Number(r.getAttribute(name)))"
        )
        assert rectangle == [x0, y0, x1 + 1 - x0, y1 + 1 - y0]
        numbers = page.locator(".explorer .right dl").inner_text()
        assert str(field["box"]) in numbers and f"{field['area']} pixels" in numbers


def test_the_box_under_the_pointer_is_that_of_the_map(fields: Path, open_page: Open) -> None:
    page = open_page(fields)
    canvas, output = page.locator(".explorer canvas"), page.locator(".explorer output")
    drawn(canvas)
    said = read_out(page, output)
    boxes = np.load(fields / "boxes.npy")
    for x, y in ((0, 0), (23, 23), (17, 8)):
        hover(canvas, x, y, (24, 24))
        said = read_out(page, output, said)
        assert said.startswith(f"output pixel {x},{y} sees the box")
        assert shown_box(said) == boxes[y, x].tolist()
    canvas.focus()
    page.keyboard.press("ArrowLeft")
    said = read_out(page, output, said)
    assert shown_box(said) == boxes[8, 16].tolist()
    page.locator(".explorer [name=x]").fill("5")
    said = read_out(page, output, said)
    assert shown_box(said) == boxes[8, 5].tolist()


def test_without_a_map_the_geometry_tells_the_box(
    fields: Path, tmp_path: Path, open_page: Open
) -> None:
    shutil.copytree(fields, tmp_path / "fields")
    (tmp_path / "fields/boxes.npy").unlink()
    page = open_page(tmp_path / "fields")
    canvas, output = page.locator(".explorer canvas"), page.locator(".explorer output")
    drawn(canvas)
    said = read_out(page, output)
    measured = np.load(fields / "boxes.npy")
    for x, y in ((17, 8), (1, 23)):
        hover(canvas, x, y, (24, 24))
        said = read_out(page, output, said)
        assert said.endswith("by the geometry")
        assert shown_box(said) == measured[y, x].tolist()


def test_the_masks_and_the_contours_are_drawn(fields: Path, open_page: Open) -> None:
    page = open_page(fields)
    canvas = page.locator(".explorer canvas")
    plain = {}
    for kind in ("input", "structural", "local"):
        page.select_option(".explorer [name=show]", kind)
        plain[kind] = pixels(drawn(canvas, f"0 {kind}"))
    for kind in ("structural", "local"):
        mask = np.load(fields / f"room_01.png/pixel-15-10/{kind}.npy")
        same = (plain[kind] == plain["input"]).all(-1)
        assert same[mask].all()
        assert np.abs(plain[kind][~mask] - 0.3 * plain["input"][~mask]).max(initial=0) <= 1
    energy = np.load(fields / "room_01.png/pixel-15-10/effective.npy")
    held = page.locator(".marks .contour.c50").get_attribute("d")
    edges = re.findall(r"M(\d+) (\d+)([VH])", held)
    inside = np.zeros((50, 50), bool)
    least = np.sort(energy.ravel())[::-1]
    threshold = least[np.searchsorted(np.cumsum(least), energy.sum() / 2)]
    inside[1:-1, 1:-1] = energy >= threshold
    across = np.count_nonzero(inside[:, 1:] != inside[:, :-1])
    down = np.count_nonzero(inside[1:] != inside[:-1])
    assert len(edges) == pytest.approx(across + down, abs=4)


@pytest.fixture(scope="module")
def levels(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fields of one pixel, with --log and without: 25 energies, of which two at a time differ
    by six steps of the page's 16 bits."""
    folder = tmp_path_factory.mktemp("levels")
    net = nn.Conv2d(3, 1, 5, padding=2, bias=False)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0)) + 1
    energies = ((order // 2 + 2) / 14).square() - 2e-4 * (order % 2)
    net.load_state_dict({"weight": energies.reshape(5, 5).expand(1, 3, 5, 5)})
    model = script(net, folder / "net.ts")
    for name, more in (("plain", []), ("log", ["--log"])):
        call(
            "receptive-field", model, images / "room_01.png", "--resize", 48, "--pixel", "15,10",
            "-o", folder / name, *more,
        )  # fmt: skip
    return folder


@pytest.mark.parametrize(("kind", "as_in"), [("effective", "plain"), ("log", "log")])
def test_the_energies_have_the_runs_colours(
    levels: Path, open_page: Open, kind: str, as_in: str
) -> None:
    page = open_page(levels / "plain")
    page.select_option(".explorer [name=show]", kind)
    found = pixels(drawn(page.locator(".explorer canvas"), f"0 {kind}")).astype(int)
    written = np.asarray(Image.open(levels / as_in / "room_01.png/pixel-15-10/effective.png"))
    # The page has the energies in 16 bits, which may tip one into a neighbouring colour.
    assert np.abs(found - written).max() <= 6
    assert len(np.unique(found.reshape(-1, 3), axis=0)) > 10


def test_a_contour_holds_the_pixel_that_completes_its_share(levels: Path, open_page: Open) -> None:
    """Edge by edge, against sums of the energies; the page's own are rounded to 16 bits."""
    page = open_page(levels / "plain")
    drawn(page.locator(".explorer canvas"), "0 ")
    energy = np.load(levels / "plain/room_01.png/pixel-15-10/effective.npy")
    for share in (20, 50, 99):
        falling = sorted(energy.ravel(), reverse=True)
        least = next(
            e for n, e in enumerate(falling, 1) if sum(falling[:n]) * 100 >= share * sum(falling)
        )
        inside = np.pad(energy >= least, 1)
        upright = inside[1:-1, 1:] != inside[1:-1, :-1]
        level = inside[1:, 1:-1] != inside[:-1, 1:-1]
        expected = {f"M{x} {y}V{y + 1}" for y, x in np.argwhere(upright)}
        expected |= {f"M{x} {y}H{x + 1}" for y, x in np.argwhere(level)}
        path = page.locator(f".marks .contour.c{share}").get_attribute("d")
        assert set(re.findall(r"M\d+ \d+[VH]\d+", path)) == expected


def test_layers_are_a_chart_and_a_table(fields: Path, open_page: Open) -> None:
    page = open_page(fields)
    layers = json.loads((fields / "field.json").read_text())["layers"]
    assert page.locator(".chart circle").count() == len(layers)
    assert page.locator(".explorer tbody tr").count() == len(layers)
    title = page.locator(".chart circle title").last.text_content()
    assert title == f"{layers[-1]['name']}: size {layers[-1]['size'][0]}"


# Comparisons


def test_a_comparison_draws_both_and_their_difference(
    tmp_path: Path, run: Path, open_page: Open
) -> None:
    other = G.copy()
    other[:, 2, 3] += 0.5
    second = runs.saliency_run(
        tmp_path / "second", {("a.png", "ones"): other, ("new.png", "ones"): G}
    )
    document = runs.compare_document(
        tmp_path / "compare.json",
        (run, second),
        [
            {"image": "new.png", "seed": "ones", "ok": False, "value": None,
             "problems": ["only in B"], "measured": {}, "facts": {}},
            {"image": "a.png", "seed": "ones", "ok": False, "value": 0.25, "problems": [],
             "measured": {"gradient": {"relative": 0.25}}, "facts": {}},
            {"image": None, "seed": None, "ok": True, "value": None, "problems": [],
             "measured": {}, "facts": {}},
        ],
    )  # fmt: skip
    page = open_page(document)
    rows = page.locator(".pairs > li")
    assert "only in B" in rows.nth(0).inner_text()
    assert "the versions differ" in page.locator("#remarks").inner_text()
    assert "2 of 3 differ" in page.locator(".verdict").inner_text()
    canvases = rows.nth(1).locator("figure > canvas")
    assert canvases.count() == 3
    difference = pixels(drawn(canvases.nth(2), "signed"))
    table = load_palette().diverging_table
    assert (difference[2, 3] == table[0]).all()  # A − B is -1.5 there, and 0 elsewhere
    assert (np.delete(difference.reshape(-1, 3), 2 * 8 + 3, axis=0) == table[127]).all()
    hover(canvases.nth(2), 3, 2, (8, 6))
    said = read_out(page, rows.nth(1).locator("output").nth(2))
    assert float(said.partition(": ")[2]) == pytest.approx(-1.5, rel=1e-4)
    page.select_option(".comparison [name=view]", "heatmap")
    drawn(page.locator(".pairs figure > canvas").nth(2), "heatmap")


def test_a_and_b_are_drawn_on_the_larger_scale_of_the_two(tmp_path: Path, open_page: Open) -> None:
    """B has twice the gradient of A, so A gets half of the colours."""
    folders = [
        runs.saliency_run(tmp_path / name, {("a.png", "ones"): factor * G})
        for name, factor in (("one", 1), ("two", 2))
    ]
    item = {"image": "a.png", "seed": "ones", "ok": False, "value": 0.5, "problems": [],
            "measured": {"gradient": {"relative": 0.5}}, "facts": {}}  # fmt: skip
    for order in (folders, folders[::-1]):
        document = runs.compare_document(tmp_path / "compare.json", (order[0], order[1]), [item])
        page = open_page(document)
        canvases = page.locator(".pairs figure > canvas")
        page.select_option(".comparison [name=view]", "heatmap")
        scale = np.percentile(np.abs(2 * G).sum(0), 99)
        table = load_palette().sequential_table.astype(int)
        for n, folder in enumerate(order):
            factor = 1 if folder is folders[0] else 2
            t = np.clip(np.abs(factor * G).sum(0) / scale, 0, 1)
            found = pixels(drawn(canvases.nth(n), "heatmap"))
            assert np.abs(found - table[np.round(254 * t).astype(int)]).max() <= 6
            end = page.locator(".pairs .bar").nth(n).locator("span").last
            assert float(end.inner_text()) == pytest.approx(scale, rel=1e-3)
