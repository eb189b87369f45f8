"""The page of `gradviz explore` in a browser: pointing, pinning, asking, and what is painted."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gradviz.commands.explore.serve import Serving
from gradviz.commands.explore.session import ExploredModel, Session
from gradviz.heatmap.colours import load_palette
from gradviz.heatmap.views import VIEWS
from gradviz.image.find import find_images
from gradviz.model.load import load_model, wrap
from tests.helpers import nets
from tests.helpers.background import join_workers
from tests.helpers.browsing import call, hover, launched, pixels
from tests.helpers.formats import script
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.browser

SIZE = (24, 20)
"""The width and height of the images."""

PAINTED = """([seed, nth]) => {
  const section = document.querySelectorAll(".panel")[nth];
  return section?.dataset.answer === seed && !section.classList.contains("waiting");
}"""

PLACES = """() => [...document.querySelectorAll("figure, button, label")]
  .map((element) => JSON.stringify(element.getBoundingClientRect()))"""

NAME = "e => e.ariaLabel || e.title || e.textContent || e.labels?.[0]?.textContent"

LOG = """() => {
  const section = document.querySelector(".panel");
  window.answers = [];
  new MutationObserver(() => window.answers.push(section.dataset.answer))
    .observe(section, { attributeFilter: ["data-answer"] });
}"""


class Blur(nn.Module):
    """[N, 3, H, W] -> [N, 1, H, W]: a convolution of 5×3 pixels, whose weights are known."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, (3, 5), padding=(1, 2))
        weights = torch.randn(self.conv.weight.shape, generator=torch.Generator().manual_seed(0))
        self.conv.load_state_dict({"weight": factor * weights, "bias": torch.zeros(1)})

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class Moody(Blur):
    """Waits for a gate before each backward pass, and fails at dark images."""

    gate = threading.Event()

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.mean() < 0.1:
            raise RuntimeError("it is too dark")
        y = super().forward(x)
        if y.requires_grad:
            y.register_hook(Moody.wait)  # type: ignore[no-untyped-call]
        return y

    @staticmethod
    def wait(gradient: Tensor) -> None:
        if not Moody.gate.wait(30):
            raise TimeoutError("the gate stays shut")


@pytest.fixture(scope="module")  # two at once in one process disturb each other
def browser() -> Iterator[Any]:
    yield from launched()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures: two of noise, and a black one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(random.integers(40, 255, (*SIZE[::-1], 3), np.uint8)).save(folder / name)
    Image.new("RGB", SIZE).save(folder / "black.png")
    return folder


Open = Callable[..., Any]


@pytest.fixture
def explore(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Serve models and images, and open the page in a browser of its own.

    Afterwards: the console was silent, and nothing was asked of anything but the server.
    """
    told: list[str] = []
    asked: list[str] = []
    opened: list[Any] = []

    def explore(
        *models: nn.Module | Path,
        images: Sequence[Path],
        how: dict[str, Any] | None = None,
        in_python: bool = False,
    ) -> Any:
        loaded = [
            (str(n), wrap(each)) if isinstance(each, nn.Module) else (str(each), load_model(each))
            for n, each in enumerate(models)
        ]
        explored = [ExploredModel(name, model, model.recipe()) for name, model in loaded]
        found = find_images([str(each) for each in images], tmp_path / "out").sources
        serving = Serving(Session(explored, found, tmp_path / "out", in_python=in_python))
        context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 800}, **(how or {})},
            permissions=["clipboard-read", "clipboard-write"],
        )
        opened.append((serving, context))
        page = context.new_page()
        watch(page)
        page.goto(serving.address)
        return page

    def watch(page: Any) -> None:
        page.set_default_timeout(60_000)  # a busy machine is no failure
        page.on("console", lambda message: told.extend(worth_telling(message)))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))

    explore.watch = watch  # type: ignore[attr-defined]
    yield explore
    hosts = tuple(serving.address.partition("?")[0] for serving, _ in opened)
    for serving, context in opened:
        context.close()
        serving.close()
    Moody.gate.set()
    join_workers()
    assert told == []
    assert [url for url in asked if not url.startswith((*hosts, "data:"))] == []


def worth_telling(message: Any) -> list[str]:
    """The text of a console's message, if it is not that an image could not be loaded."""
    return [] if "/image?" in message.location["url"] else [message.text]


def painted(page: Any, seed: str, nth: int = 0) -> Any:
    """The canvas of the map over the image, once the answer to a seed is painted."""
    page.wait_for_function(PAINTED, arg=[seed, nth])
    return page.locator(".input .map").nth(nth)


def visit(page: Any, state: str) -> None:
    """Open the page anew with a state in its address, as a colleague does."""
    home = page.url.partition("#")[0]
    page.goto("about:blank")  # the page that was open may write into the address
    page.goto(f"{home}#{state}")


def over(page: Any, nth: int = 0) -> Any:
    """The canvas of the output."""
    return page.locator(".answer .map").nth(nth)


def said(page: Any, place: str, pattern: str) -> str:
    """The text of an element, once it matches."""
    page.wait_for_function(
        "([place, pattern]) => RegExp(pattern).test(document.querySelector(place).textContent)",
        arg=[place, pattern],
    )
    text: str = page.locator(place).first.inner_text()
    return text


def seed_of(page: Any) -> str:
    text: str = page.locator("[name=seed]").input_value()
    return text


def gradient(net: nn.Module, image: Path, v: Callable[[Tensor], Tensor]) -> np.ndarray:
    """∂⟨v, y⟩/∂x by autograd itself, [C, H, W]."""
    x = as_input(image).requires_grad_()
    (found,) = torch.autograd.grad(v(net(x)).sum(), x)
    return found[0].numpy()


def as_input(image: Path) -> Tensor:
    array = np.asarray(Image.open(image).convert("RGB"), np.float32) / 255
    return torch.from_numpy(array.transpose(2, 0, 1)[None].copy())


def heatmap(g: np.ndarray, scale: float | None = None) -> np.ndarray:
    """The colours of Σ|g|, by numpy."""
    m = np.abs(g).sum(0)
    scale = scale or float(np.percentile(m[m != 0], 99))
    table = load_palette().sequential_table.astype(int)
    found: np.ndarray = table[np.round(254 * np.clip(m / scale, 0, 1)).astype(int)]
    return found


def assert_drawn(canvas: Any, expected: np.ndarray) -> None:
    """Half-precision numbers may tip a value into the neighbouring colour."""
    assert np.abs(pixels(canvas).astype(int) - expected).max() <= 6


# Pointing


def test_the_pointer_asks_and_the_answer_is_painted(photos: Path, explore: Open) -> None:
    net = Blur()
    page = explore(net, images=[photos / "a.png"])
    painted(page, "pixel:12,10")  # what is shown first: the middle
    page.select_option("[name=view]", "heatmap")
    for x, y in ((5, 7), (0, 19), (23, 0)):
        hover(over(page), x, y, SIZE)
        canvas = painted(page, f"pixel:{x},{y}")
        seed = torch.zeros(1, 1, *SIZE[::-1])
        seed[0, 0, y, x] = 1
        expected = heatmap(gradient(net, photos / "a.png", seed.mul))
        assert_drawn(canvas, expected)
        with torch.no_grad():
            value = net(as_input(photos / "a.png"))[0, 0, y, x].item()
        told = page.locator(".answer .value").inner_text()
        assert told.startswith(f"x {x}, y {y}: output ")
        assert float(told.rpartition(" ")[2]) == pytest.approx(value, rel=2e-3, abs=2e-3)


def test_the_structural_box_is_there_at_once(photos: Path, explore: Open) -> None:
    """The kernel has 5×3 pixels."""
    page = explore(Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    page.route("**/ask", lambda route: None)  # no answer comes
    for x, y, box in ((9, 7, [7, 6, 5, 3]), (0, 0, [0, 0, 3, 2])):
        hover(over(page), x, y, SIZE)
        said(page, ".answer .seen", f"^pixel:{x},{y}$")
        rectangle = page.locator(".input .marks .first").evaluate(
            "r => ['x', 'y', 'width', 'height'].map(name => Number(r.getAttribute(name)))"
        )
        assert rectangle == box
    page.unroute("**/ask")


def test_a_click_pins_and_escape_lets_go(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    hover(over(page), 5, 7, SIZE)
    page.mouse.down()
    page.mouse.up()
    hover(over(page), 15, 3, SIZE)
    assert seed_of(page) == "pixel:5,7"
    assert page.locator("[name=pin]").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Escape")
    hover(over(page), 16, 3, SIZE)
    painted(page, "pixel:16,3")
    page.locator("[name=pin]").click()
    hover(over(page), 2, 3, SIZE)
    assert seed_of(page) != "pixel:2,3"


def test_a_drag_asks_for_a_region(photos: Path, explore: Open) -> None:
    net = Blur()
    page = explore(net, images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    page.select_option("[name=view]", "heatmap")
    hover(over(page), 9, 8, SIZE)
    page.mouse.down()
    hover(over(page), 7, 3, SIZE)
    hover(over(page), 4, 2, SIZE)
    page.mouse.up()
    canvas = painted(page, "region:4,2,10,9")
    expected = gradient(net, photos / "a.png", lambda map: map[0, 0, 2:9, 4:10].sum())
    assert_drawn(canvas, heatmap(expected))
    hover(over(page), 20, 15, SIZE)
    assert seed_of(page) == "region:4,2,10,9"  # a drag pins
    region = page.locator(".answer .marks .first")
    assert region.evaluate("r => r.getAttribute('width')") == "6"


def test_a_second_pin_is_subtracted_on_one_scale(photos: Path, explore: Open) -> None:
    net = Blur()
    page = explore(net, images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    hover(over(page), 5, 7, SIZE)
    page.mouse.down()
    page.mouse.up()
    page.keyboard.down("Shift")
    hover(over(page), 7, 8, SIZE)
    page.mouse.down()
    page.mouse.up()
    page.keyboard.up("Shift")
    canvas = painted(page, "pixel:5,7 - pixel:7,8")
    assert page.locator("[name=view]").input_value() == "signed"
    g = gradient(net, photos / "a.png", lambda map: map[0, 0, 7, 5] - map[0, 0, 8, 7]).sum(0)
    scale = np.percentile(np.abs(g[g != 0]), 99)
    table = load_palette().diverging_table.astype(int)
    assert_drawn(canvas, table[np.round(127 * (np.clip(g / scale, -1, 1) + 1)).astype(int)])
    page.keyboard.press("Escape")
    painted(page, "pixel:5,7")
    assert page.locator("[name=view]").input_value() == "overlay"


def test_the_dual_question_is_drawn_over_the_output(photos: Path, explore: Open) -> None:
    """J u of a convolution, u = 1 on the channels of one pixel: its kernel, turned around."""
    net = Blur()
    page = explore(net, images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    page.select_option("[name=view]", "heatmap")
    hover(page.locator(".input .map"), 9, 6, SIZE)
    painted(page, "reacts:9,6")
    expected = np.zeros((1, *SIZE[::-1]), np.float32)
    expected[0, 5:8, 7:12] = net.conv.weight.detach()[0].sum(0).flip(0, 1).numpy()
    assert_drawn(over(page), heatmap(expected))
    page.mouse.down()
    page.mouse.up()  # pinned: the values can be read
    hover(over(page), 8, 7, SIZE)
    told = page.locator(".answer .value").inner_text()
    assert float(told.partition("reaction ")[2].split(",")[0]) == pytest.approx(
        abs(expected[0, 7, 8]), rel=1e-3
    )


def test_a_small_map_is_shown_close_up_on_either_side(tmp_path: Path, explore: Open) -> None:
    noise = np.random.default_rng(0).integers(40, 255, (48, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "wide.png")
    page = explore(Blur(), images=[tmp_path / "wide.png"])
    painted(page, "pixel:32,24")
    closeups = [page.locator(f"{side} .closeup") for side in (".input", ".answer")]
    assert [each.is_visible() for each in closeups] == [True, False]
    hover(page.locator(".input .map"), 20, 10, (64, 48))
    painted(page, "reacts:20,10")
    assert [each.is_visible() for each in closeups] == [False, True]


# Keys


def test_the_keyboard_does_it_all(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png", photos / "b.png"])
    painted(page, "pixel:12,10")
    over(page).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    painted(page, "pixel:13,9")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    painted(page, "region:13,9,15,11")
    page.keyboard.press("Enter")
    assert page.locator("[name=pin]").get_attribute("aria-pressed") == "true"
    page.keyboard.press("2")
    assert page.locator("[name=view]").input_value() == "signed"
    page.keyboard.press("f")
    assert over(page).page.locator(".input .map").evaluate("c => c.style.opacity") == "0"
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    said(page, "header .image", "^b.png$")
    page.locator(".strip button").first.click()
    said(page, "header .image", "^a.png$")


# Controls


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A scripted network of two channels, and an image."""
    folder = tmp_path_factory.mktemp("fine")
    image = folder / "a.png"
    random = np.random.default_rng(3)
    Image.fromarray(random.integers(0, 255, (20, 24, 3), np.uint8)).save(image)
    return script(nets.dense(), folder / "dense.ts"), image


def test_every_view_is_painted_as_a_run_draws_it(
    fine: tuple[Path, Path], tmp_path: Path, explore: Open
) -> None:
    model, image = fine
    views = [view.name for view in VIEWS.values() if not view.marked]
    named = [word for view in views for word in ("--view", view)]
    call("saliency", model, image, "--seed", "pixel:5,4,1", "-o", tmp_path / "run", *named)
    page = explore(model, images=[image])
    page.select_option("[name=channel]", "1")
    page.locator("[name=seed]").fill("pixel:5,4,1")
    page.keyboard.press("Enter")
    canvas = painted(page, "pixel:5,4,1")
    for view in views:
        page.select_option("[name=view]", view)
        written = np.asarray(Image.open(tmp_path / f"run/a.png/pixel-5-4-1/{view}.png"), int)
        assert_drawn(canvas, written)


def test_controls_that_only_draw_ask_nothing(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    canvas = painted(page, "pixel:12,10")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    first = pixels(canvas)
    end = page.locator(".input .bar span").last
    for name, value in (("view", "heatmap"), ("colours", "viridis"), ("view", "gray")):
        before = pixels(canvas)
        page.select_option(f"[name={name}]", value)
        assert not np.array_equal(pixels(canvas), before)
    at_99 = float(end.inner_text())
    page.locator("[name=clip]").fill("50")
    at_50 = float(end.inner_text())
    assert at_50 < at_99
    page.select_option("[name=scale]", "locked")
    page.locator("[name=clip]").fill("99")
    assert float(end.inner_text()) == at_50
    page.locator("[name=fade]").fill("0.25")
    assert canvas.evaluate("c => c.style.opacity") == "0.25"
    for name, value in (("colours", ""), ("view", "overlay"), ("scale", "own")):
        page.select_option(f"[name={name}]", value)
    assert np.array_equal(pixels(canvas), first)
    assert asked == []


def test_a_clip_that_is_none_is_marked(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    clip = page.locator("[name=clip]")
    usual = clip.evaluate("e => getComputedStyle(e).borderColor")
    for text in ("abc", "0", "101"):
        clip.fill(text)
        assert clip.get_attribute("aria-invalid") == "true"
        assert clip.evaluate("e => getComputedStyle(e).borderColor") != usual
    clip.fill("50")
    assert clip.get_attribute("aria-invalid") is None
    clip.fill("energy:0")
    page.locator("[name=seed]").focus()
    hover(over(page), 4, 3, SIZE)
    painted(page, "pixel:4,3")
    assert (clip.input_value(), clip.get_attribute("aria-invalid")) == ("50", None)


def test_of_many_channels_the_winning_one_is_asked_for(photos: Path, explore: Open) -> None:
    torch.manual_seed(0)
    net = nn.Conv2d(3, 6, 3, padding=1)
    page = explore(net, images=[photos / "a.png"])
    with torch.no_grad():
        winner = net(as_input(photos / "a.png"))[0].argmax(0)
    painted(page, f"pixel:12,10,{winner[10, 12]}")
    for x, y in ((5, 7), (20, 2), (0, 0)):
        hover(over(page), x, y, SIZE)
        painted(page, f"pixel:{x},{y},{winner[y, x]}")
    page.select_option("[name=channel]", "4")
    painted(page, "pixel:0,0,4")
    page.select_option("[name=channel]", "all")
    painted(page, "pixel:0,0")


def test_a_method_and_a_layer_are_asked_for(fine: tuple[Path, Path], explore: Open) -> None:
    model, image = fine
    page = explore(model, images=[image])
    painted(page, "pixel:6,5")
    page.locator("[name=pin]").click()
    asked: list[dict[str, Any]] = []
    page.on(
        "request",
        lambda request: (
            asked.append(request.post_data_json) if request.url.endswith("/ask") else None
        ),
    )
    with page.expect_response("**/ask"):
        page.select_option("[name=method]", "gradcam")
    page.locator("[name=layer]").focus()
    page.wait_for_function("() => document.querySelector('[name=layer]').options.length > 2")
    with page.expect_response("**/ask"):
        page.select_option("[name=layer]", "first")
    with page.expect_response("**/ask"):
        page.select_option("[name=method]", "integrated-gradients")
    with page.expect_response("**/ask"):
        page.select_option("[name=baseline]", "mean")
    with page.expect_response("**/ask"):
        page.select_option("[name=channel]", "1")
    assert [(each["method"], each["layer"], each["baseline"], each["seed"]) for each in asked] == [
        ("gradcam", None, None, "pixel:6,5"),
        ("gradcam", "first", None, "pixel:6,5"),
        ("integrated-gradients", None, None, "pixel:6,5"),
        ("integrated-gradients", None, "mean", "pixel:6,5"),
        ("integrated-gradients", None, "mean", "pixel:6,5,1"),
    ]


@pytest.mark.parametrize(
    ("method", "gap"), [("integrated-gradients", "completeness"), ("lrp", "conservation")]
)
def test_the_gap_of_a_method_is_told(
    fine: tuple[Path, Path], tmp_path: Path, explore: Open, method: str, gap: str
) -> None:
    model, image = fine
    call(
        "saliency", model, image, "--seed", "pixel:6,5", "--method", method, "-o", tmp_path / "run"
    )
    (line,) = (tmp_path / "run/results.jsonl").read_text().splitlines()
    page = explore(model, images=[image])
    painted(page, "pixel:6,5")
    page.select_option("[name=method]", method)
    told = said(page, ".time", f"{gap} gap")
    found = float(told.partition(f"{gap} gap ")[2].split()[0])
    assert found == pytest.approx(json.loads(line)[gap], rel=1e-3)


def test_the_value_under_the_pointer_is_that_of_the_channel_that_is_drawn(
    photos: Path, explore: Open
) -> None:
    torch.manual_seed(0)
    net = nn.Conv2d(3, 6, 3, padding=1)
    with torch.no_grad():
        y = net(as_input(photos / "a.png"))[0]
    page = explore(net, images=[photos / "a.png"])
    painted(page, f"pixel:12,10,{y[:, 10, 12].argmax()}")
    hover(over(page), 5, 7, SIZE)
    for choice, channel in (("", y[:, 7, 5].argmax().item()), ("4", 4), ("all", 0), ("winning", 5)):
        page.select_option("[name=channel]", choice)
        channel = y[:, 7, 5].argmax().item() if choice == "winning" else channel
        hover(over(page), 4, 7, SIZE)
        hover(over(page), 5, 7, SIZE)
        told = said(page, ".answer .value", f"^x 5, y 7: output [^ ]+ of channel {channel}$")
        value = y[channel, 7, 5].item()
        assert float(told.split()[5]) == pytest.approx(value, rel=2e-3, abs=2e-3)
        drawn = {"4": "channel 4", "all": "channel 0"}.get(choice)
        seen = page.locator(".answer .seen").inner_text()
        assert seen.endswith(f"drawn: {drawn}") if drawn else "drawn" not in seen


# From looking to doing


def test_a_call_is_copied_where_python_opened_the_page(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png"], in_python=True)
    painted(page, "pixel:12,10")
    page.locator("[name=copy]").click()
    said(page, ".notice", "^Copied: ")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"gradviz.saliency(model, {str(photos / 'a.png')!r}, seed='pixel:12,10')"


def test_the_commands_of_two_models_can_be_run_one_after_the_other(
    fine: tuple[Path, Path], tmp_path: Path, explore: Open
) -> None:
    model, image = fine
    page = explore(model, model, images=[image])
    for nth in (0, 1):
        painted(page, "pixel:6,5", nth)
    page.locator("[name=copy]").click()
    said(page, ".notice", "^Copied: ")
    for line in page.evaluate("navigator.clipboard.readText()").splitlines():
        call(*shlex.split(line)[1:])
    assert [path.parent.name for path in sorted((tmp_path / "out").glob("*/run.json"))] == [
        "1",
        "2",
    ]


def test_saving_takes_its_time_with_words_and_is_begun_once(
    photos: Path, tmp_path: Path, explore: Open
) -> None:
    Moody.gate.set()
    page = explore(Moody(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    page.select_option("[name=method]", "input-x-gradient")
    page.locator(".panel[data-method=input-x-gradient]").wait_for()
    Moody.gate.clear()
    try:
        page.locator("[name=save]").click()
        said(page, ".notice", r" … [\d.]+ s$")
        assert page.locator("[name=save]").is_disabled()
    finally:
        Moody.gate.set()
    said(page, ".notice", "^Saved in ")
    assert len([*(tmp_path / "out").rglob("results.jsonl")]) == 1
    assert page.locator("[name=save]").is_enabled()


@pytest.mark.parametrize("clip", ["90", "energy:80"])
def test_the_copied_command_draws_what_is_on_the_screen(
    fine: tuple[Path, Path], tmp_path: Path, explore: Open, clip: str
) -> None:
    model, image = fine
    page = explore(model, images=[image])
    painted(page, "pixel:6,5")
    hover(over(page), 4, 3, (12, 10))
    canvas = painted(page, "pixel:4,3")
    page.select_option("[name=view]", "signed")
    page.locator("[name=clip]").fill(clip)
    page.locator("[name=copy]").click()
    said(page, ".notice", "^Copied: ")
    words = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    assert words[0] == "gradviz"
    call(*words[1:], "-o", tmp_path / "run")
    (written,) = (tmp_path / "run").rglob("signed.png")
    assert_drawn(canvas, np.asarray(Image.open(written), int))


def test_save_writes_a_run(photos: Path, tmp_path: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    page.locator("[name=save]").click()
    said(page, ".notice", "^Saved in ")
    (results,) = (tmp_path / "out").rglob("results.jsonl")
    assert '"pixel:12,10"' in results.read_text()


def test_a_reload_shows_the_same(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png", photos / "b.png"])
    painted(page, "pixel:12,10")
    page.locator(".strip button").last.click()
    page.select_option("[name=view]", "rgb")
    page.select_option("[name=colours]", "viridis")
    page.locator("[name=clip]").fill("80")
    hover(over(page), 5, 7, SIZE)
    page.mouse.down()
    page.mouse.up()
    canvas = painted(page, "pixel:5,7")
    before = pixels(canvas)
    page.wait_for_url("**/#*seed=pixel:5,7*pinned=yes*")
    assert "token" not in page.url
    page.reload()
    canvas = painted(page, "pixel:5,7")
    assert np.array_equal(pixels(canvas), before)
    assert page.locator("header .image").inner_text() == "b.png"
    hover(over(page), 1, 1, SIZE)
    assert seed_of(page) == "pixel:5,7"


def test_an_address_that_says_nonsense_is_the_default(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    before = pixels(painted(page, "pixel:12,10"))
    visit(
        page,
        "image=gone&view=constructor&method=none&colours=none&clip=-1&fade=x&scale=-&toString=1"
        "&channel=x",
    )
    canvas = painted(page, "pixel:12,10")
    assert np.array_equal(pixels(canvas), before)
    assert canvas.evaluate("c => c.style.opacity") == "1"
    problem = "The address names gone, which is not among the images"
    assert page.locator(".problem").inner_text() == problem


def test_an_address_is_followed_while_the_page_is_open(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png", photos / "b.png"])
    painted(page, "pixel:12,10")
    home = page.url.partition("#")[0]
    page.goto(f"{home}#image=b.png&seed=pixel:3,2&pinned=yes&view=signed")
    painted(page, "pixel:3,2")
    assert page.locator("header .image").inner_text() == "b.png"
    assert page.locator("[name=view]").input_value() == "signed"
    page.goto(f"{home}#image=b.png&seed=pixel:4,2&second=pixel:9,2&view=heatmap")
    painted(page, "pixel:4,2 - pixel:9,2")
    assert page.locator("[name=view]").input_value() == "heatmap"
    page.goto(f"{home}#image=gone.png")
    said(page, ".problem", "^The address names gone.png, which is not among the images$")


@pytest.mark.parametrize("seed", ["region:30,0,5,5", "region:3,5,1,2", "pixel:99,99", "nonsense"])
def test_a_seed_that_there_is_not_is_one_line(photos: Path, explore: Open, seed: str) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    visit(page, f"seed={seed}")
    told = said(page, ".problem", ".")
    assert seed.partition(":")[0] in told and "undefined" not in told
    hover(over(page), 5, 7, SIZE)
    painted(page, "pixel:5,7")
    assert page.locator(".problem").inner_text() == ""


def test_an_empty_seed_is_the_first_one(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    hover(over(page), 5, 7, SIZE)
    painted(page, "pixel:5,7")
    page.locator("[name=seed]").fill("")
    page.keyboard.press("Enter")
    painted(page, "pixel:12,10")
    page.locator("[name=seed]").fill("pixel:5,7 + pixel:6,7")
    page.keyboard.press("Enter")
    painted(page, "pixel:5,7 + pixel:6,7")


@pytest.mark.parametrize("channel", ["9", "winning", "all"])
def test_a_channel_that_there_is_not_is_the_default(
    photos: Path, explore: Open, channel: str
) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    visit(page, f"channel={channel}")
    painted(page, "pixel:12,10")
    page.locator(".answer .bar:not(.empty)").wait_for()
    assert page.locator("[name=channel]").input_value() == ""
    assert page.locator(".problem").inner_text() == ""


# Other images


def test_a_seed_is_carried_to_an_image_of_another_size(photos: Path, explore: Open) -> None:
    Image.open(photos / "a.png").transpose(Image.Transpose.ROTATE_90).save(photos / "tall.png")
    torch.manual_seed(0)
    net = nn.Conv2d(3, 6, 3, padding=1)
    with torch.no_grad():
        wide, tall = (net(as_input(photos / name))[0].argmax(0) for name in ("a.png", "tall.png"))
    (photos / "broken.png").write_text("no picture")
    page = explore(net, images=[photos / f"{name}.png" for name in ("a", "broken", "tall")])
    painted(page, f"pixel:12,10,{wide[10, 12]}")
    hover(over(page), 23, 4, SIZE)
    page.mouse.down()
    page.mouse.up()
    painted(page, f"pixel:23,4,{wide[4, 23]}")
    page.locator(".strip button").last.click()
    painted(page, f"pixel:19,5,{tall[5, 19]}")
    assert page.locator(".problem").inner_text() == ""
    page.locator(".strip button").nth(1).click()
    said(page, ".problem", "broken.png")
    page.locator(".strip button").last.click()
    painted(page, f"pixel:19,5,{tall[5, 19]}")
    page.select_option("[name=channel]", "2")
    painted(page, "pixel:19,5,2")
    page.locator(".strip button").first.click()
    painted(page, "pixel:23,4,2")


def test_the_address_follows_a_seed_to_another_image(photos: Path, explore: Open) -> None:
    Image.open(photos / "a.png").transpose(Image.Transpose.ROTATE_90).save(photos / "tall.png")
    page = explore(Blur(), images=[photos / "a.png", photos / "tall.png"])
    painted(page, "pixel:12,10")
    hover(over(page), 23, 4, SIZE)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url("**/#*seed=pixel:23,4*")
    held: list[Any] = []
    page.route("**/fields", lambda route: held.append(route))
    page.locator(".strip button").last.click()
    page.wait_for_url("**/#*image=tall.png*")
    wait_until(lambda: page.wait_for_timeout(10) or held)
    held[0].continue_()
    painted(page, "pixel:19,5")
    page.wait_for_url("**/#*seed=pixel:19,5*")


def test_a_button_that_is_released_while_an_image_opens_drags_no_more(
    photos: Path, explore: Open
) -> None:
    page = explore(Blur(), images=[photos / "a.png", photos / "b.png"])
    painted(page, "pixel:12,10")
    held: list[Any] = []
    page.route("**/fields", lambda route: held.append(route))
    hover(over(page), 5, 7, SIZE)
    page.mouse.down()
    page.locator(".strip button").last.evaluate("button => button.click()")
    wait_until(lambda: page.wait_for_timeout(10) or held)
    page.mouse.up()
    held[0].continue_()
    painted(page, "pixel:5,7")
    hover(over(page), 15, 3, SIZE)
    painted(page, "pixel:15,3")
    assert page.locator("header .image").inner_text() == "b.png"


def test_a_seed_that_is_chosen_before_the_output_is_there_stays(
    photos: Path, explore: Open
) -> None:
    Image.open(photos / "a.png").resize((48, 40)).save(photos / "large.png")
    torch.manual_seed(0)
    net = nn.Conv2d(3, 6, 3, padding=1)
    with torch.no_grad():
        winner = net(as_input(photos / "large.png"))[0].argmax(0)
    page = explore(net, images=[photos / "a.png", photos / "large.png"])
    page.wait_for_function("() => document.querySelector('.panel').dataset.answer")
    held: list[Any] = []
    page.route("**/output", lambda route: held.append(route))
    page.locator(".strip button").last.click()
    wait_until(lambda: page.wait_for_timeout(10) or held)
    page.wait_for_function("() => !document.querySelector('.panel.opening')")
    hover(over(page), 30, 6, (48, 40))
    page.mouse.down()
    page.mouse.up()
    assert seed_of(page) == "pixel:30,6"
    held[0].continue_()
    painted(page, f"pixel:30,6,{winner[6, 30]}")


ALPHA = """canvas => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  return context.getImageData(0, 0, 1, 1).data[3];
}"""


def test_an_image_that_cannot_be_read_shows_nothing_of_the_one_before(
    photos: Path, explore: Open
) -> None:
    (photos / "broken.png").write_text("no picture")
    page = explore(nets.scores(), images=[photos / "a.png", photos / "broken.png"])
    rows = page.locator(".list button")
    rows.first.wait_for()
    picture = page.locator(".input .picture")
    page.wait_for_function("() => document.querySelector('.panel').dataset.answer")
    assert picture.evaluate(ALPHA) == 255
    page.locator(".strip button").last.click()
    said(page, ".problem", "broken.png")
    assert picture.evaluate(ALPHA) == 0
    assert page.locator(".input .map").evaluate("c => c.style.opacity") == "0"
    assert rows.first.is_hidden()
    for place in (".input .seen", ".answer .seen", ".time"):
        assert page.locator(place).inner_text() == ""
    page.locator(".strip button").first.click()
    rows.first.wait_for()
    page.wait_for_function("() => document.querySelector('.panel').dataset.answer")
    assert picture.evaluate(ALPHA) == 255
    assert page.locator(".problem").inner_text() == ""


# Classes, detections, two models


def test_a_class_under_the_pointer_shows_its_map(photos: Path, explore: Open) -> None:
    net = nets.scores()
    page = explore(net, images=[photos / "a.png"])
    scores = net(as_input(photos / "a.png"))[0].detach()
    order = scores.argsort(descending=True).tolist()
    rows = page.locator(".list button")
    rows.first.wait_for()
    assert [row.get_attribute("data-seed") for row in rows.all()] == [f"class:{n}" for n in order]
    shares = [float(row.locator(".percent").inner_text()[:-2]) for row in rows.all()]
    assert shares == pytest.approx((100 * scores.softmax(0)[order]).tolist(), abs=0.051)
    page.select_option("[name=view]", "heatmap")
    rows.nth(2).hover()
    canvas = painted(page, f"class:{order[2]}")
    expected = gradient(net, photos / "a.png", lambda y: y[0, order[2]])
    assert_drawn(canvas, heatmap(expected))
    assert rows.nth(2).get_attribute("aria-pressed") == "true"


def test_classes_tell_how_they_react(photos: Path, explore: Open) -> None:
    """J u by two-sided differences, on a smooth network."""
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )
    page = explore(net, images=[photos / "a.png"])
    rows = page.locator(".list button")
    rows.first.wait_for()
    scores = rows.locator(".score").all_inner_texts()
    hover(page.locator(".input .map"), 9, 6, SIZE)
    painted(page, "reacts:9,6")
    x, u = as_input(photos / "a.png").double(), torch.zeros(1, 3, *SIZE[::-1]).double()
    u[..., 6, 9] = 1e-4
    with torch.no_grad():
        wanted = ((net.double()(x + u) - net(x - u)) / 2e-4)[0]
    for row in rows.all():
        index = int(row.get_attribute("data-seed").partition(":")[2])
        told = float(row.locator(".score").inner_text())
        assert told == pytest.approx(wanted[index].item(), rel=2e-3)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url("**/#*seed=reacts:9,6*")
    reactions = rows.locator(".score").all_inner_texts()
    page.reload()
    page.locator(".list.reacting").wait_for()
    assert rows.locator(".score").all_inner_texts() == reactions
    page.keyboard.press("Escape")
    rows.first.hover()
    page.wait_for_function("() => !document.querySelector('.list.reacting')")
    assert rows.locator(".score").all_inner_texts() == scores


def test_a_detection_is_chosen_in_the_list_or_in_the_image(
    models: Path, images: Path, explore: Open
) -> None:
    page = explore(models / "boxes.yaml", images=[images / "shapes_04.png"])
    rows = page.locator(".list button")
    rows.first.wait_for()
    assert rows.count() > 1
    rows.last.hover()
    painted(page, f"box:{rows.count() - 1}")
    assert page.locator(".input .marks rect").count() == rows.count()
    first = page.locator(".input .marks rect").first.bounding_box()
    page.mouse.move(first["x"] + first["width"] / 2, first["y"] + first["height"] / 2)
    painted(page, "box:0")
    rows.first.click()
    rows.last.click(modifiers=["Shift"])
    painted(page, f"box:0 - box:{rows.count() - 1}")
    marked = [page.locator(f".input .marks .{name}").count() for name in ("first", "second")]
    assert marked == [1, 1]


def test_a_difference_of_detections_is_left_with_the_image(
    models: Path, images: Path, photos: Path, explore: Open
) -> None:
    Image.new("RGB", (96, 96), (128, 128, 128)).save(photos / "zero.png")
    page = explore(models / "boxes.yaml", images=[images / "shapes_04.png", photos / "zero.png"])
    painted(page, "box:0")
    page.locator("[name=pin]").click()
    page.locator("[name=compare]").click()
    page.locator(".list button").nth(1).click()
    painted(page, "box:0 - box:1")
    page.locator(".strip button").last.click()
    said(page, "header .image", "^zero.png$")
    page.wait_for_function("() => !document.querySelector('.panel.opening')")
    said(page, ".notice", "^There is no detection")
    assert seed_of(page) == ""
    assert page.locator("[name=view]").input_value() == "overlay"
    page.locator(".strip button").first.click()
    painted(page, "box:0")


def test_two_models_share_a_pointer_and_a_scale(photos: Path, explore: Open) -> None:
    nets = Blur(), Blur(factor=2)
    page = explore(*nets, images=[photos / "a.png"])
    for n in (0, 1):
        painted(page, "pixel:12,10", n)
    page.select_option("[name=view]", "heatmap")
    hover(over(page, 1), 5, 7, SIZE)
    found = [painted(page, "pixel:5,7", n) for n in (0, 1)]
    maps = [gradient(net, photos / "a.png", lambda map: map[0, 0, 7, 5]) for net in nets]
    m = np.abs(maps[1]).sum(0)
    scale = float(np.percentile(m[m != 0], 99))
    for canvas, g in zip(found, maps, strict=True):
        assert_drawn(canvas, heatmap(g, scale))
    page.select_option("[name=scale]", "own")
    assert np.abs(pixels(found[0]).astype(int) - pixels(found[1])).max() <= 6


def test_of_two_maps_the_finer_one_can_be_asked_everywhere(photos: Path, explore: Open) -> None:
    torch.manual_seed(0)
    coarse = nn.Conv2d(3, 1, 3, stride=2, padding=1)
    page = explore(coarse, Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10", 1)
    painted(page, "pixel:6,5", 0)
    over(page, 1).focus()
    for x, half in ((11, 5), (10, 5), (9, 4)):
        page.keyboard.press("ArrowLeft")
        painted(page, f"pixel:{x},10", 1)
        painted(page, f"pixel:{half},5", 0)
    hover(over(page, 0), 7, 2, (12, 10))
    painted(page, "pixel:7,2", 0)
    painted(page, "pixel:15,5", 1)


class Unframed(nn.Module):
    """[N, 3, H, W] -> [N, H, W]: the page knows only from the output that this is a map."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)[:, 0]
        return y


def test_maps_without_a_channel_share_a_pointer(photos: Path, explore: Open) -> None:
    torch.manual_seed(0)
    nets = Unframed(nn.Conv2d(3, 1, 3, stride=2, padding=1)), Unframed(Blur())
    page = explore(*nets, images=[photos / "a.png"])
    page.select_option("[name=view]", "heatmap")
    page.select_option("[name=scale]", "own")
    for nth, (x, y) in enumerate(((6, 5), (12, 10))):
        canvas = painted(page, f"pixel:{x},{y}", nth)
        expected = gradient(nets[nth], photos / "a.png", itemgetter((0, y, x)))
        assert_drawn(canvas, heatmap(expected))
    visit(page, "channel=4&seed=pixel:3,2")
    painted(page, "pixel:3,2", 1)
    painted(page, "pixel:1,1", 0)
    assert page.locator("[name=channel]").input_value() == ""


def test_models_of_other_channels_are_each_asked_what_they_have(
    photos: Path, explore: Open
) -> None:
    torch.manual_seed(0)
    net = nn.Conv2d(3, 6, 3, padding=1)
    with torch.no_grad():
        winner = net(as_input(photos / "a.png"))[0].argmax(0)
    page = explore(net, Blur(), images=[photos / "a.png"])
    painted(page, f"pixel:12,10,{winner[10, 12]}")
    painted(page, "pixel:12,10", 1)
    page.select_option("[name=channel]", "4")
    painted(page, "pixel:12,10,4")
    painted(page, "pixel:12,10", 1)
    assert page.locator(".problem").inner_text() == ""


def test_scores_beside_a_map_are_asked_as_they_are(photos: Path, explore: Open) -> None:
    page = explore(nets.scores(), Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10", 1)
    assert "pixel:12,10" in said(page, ".problem", ".")  # scores have no pixels
    page.locator(".list button").first.hover()
    page.wait_for_function(PAINTED.replace("=== seed", "?.startsWith(seed)"), arg=["class:", 0])


def test_classes_are_pinned_and_subtracted(photos: Path, explore: Open) -> None:
    page = explore(nets.scores(), images=[photos / "a.png"])
    rows = page.locator(".list button")
    rows.first.wait_for()
    page.wait_for_function("() => document.querySelector('.panel').dataset.answer")
    first = rows.first.get_attribute("data-seed")
    second = rows.nth(2).get_attribute("data-seed")
    page.locator("[name=pin]").click()
    page.locator("[name=compare]").click()
    rows.nth(2).hover()
    painted(page, f"{first} - {second}")
    rows.nth(2).click()
    rows.nth(1).hover()
    assert seed_of(page) == f"{first} - {second}"


def test_shift_and_a_click_subtract_a_class(photos: Path, explore: Open) -> None:
    page = explore(nets.scores(), images=[photos / "a.png"])
    rows = page.locator(".list button")
    rows.nth(1).click()
    rows.nth(2).click(modifiers=["Shift"])
    first, second = (rows.nth(n).get_attribute("data-seed") for n in (1, 2))
    painted(page, f"{first} - {second}")


def test_the_keyboard_subtracts(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    over(page).focus()
    page.keyboard.press("Enter")
    page.locator("[name=compare]").press("Enter")
    over(page).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    painted(page, "pixel:12,10 - pixel:14,10")
    page.keyboard.press("Enter")  # the second one stays
    page.keyboard.press("Enter")  # both are let go
    assert page.locator("[name=pin]").get_attribute("aria-pressed") == "false"
    over(page).hover()
    page.mouse.down()
    page.mouse.up()
    hover(over(page), 3, 3, SIZE)
    assert " - " not in seed_of(page)  # what is pinned next is not compared


# Screens


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_jumps_and_nothing_is_cut_off(
    photos: Path, explore: Open, width: int, scheme: str
) -> None:
    how = {"viewport": {"width": width, "height": 780}, "color_scheme": scheme}
    page = explore(Blur(), Blur(), images=[photos / "a.png", photos / "b.png"], how=how)
    painted(page, "pixel:12,10", 1)
    before = page.evaluate(PLACES)
    hover(over(page), 5, 7, SIZE)
    painted(page, "pixel:5,7", 1)
    scrolled = page.evaluate("scrollY")
    page.evaluate("scrollTo(0, 0)")
    assert page.evaluate(PLACES) == before or scrolled
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    level = sum(int(part) for part in ground[4:-1].split(",")) / 3
    assert (level < 60) if scheme == "dark" else (level > 200)
    for control in page.locator("button, select, input").all():
        assert control.evaluate(NAME).strip()


def test_on_a_narrow_screen_a_control_is_as_wide_as_its_column(photos: Path, explore: Open) -> None:
    how = {"viewport": {"width": 600, "height": 780}}
    page = explore(Blur(), Blur(), images=[photos / "a.png"], how=how)
    painted(page, "pixel:12,10", 1)
    for control in page.locator("label > select").all():
        assert control.evaluate("e => e.offsetWidth === e.parentElement.offsetWidth")


# Trouble


def test_a_slow_model_is_waited_for_with_words(photos: Path, explore: Open) -> None:
    Moody.gate.set()
    page = explore(Moody(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    Moody.gate.clear()
    try:
        hover(over(page), 5, 7, SIZE)
        said(page, ".notice", r" … [\d.]+ s$")
        assert page.locator(".panel.waiting").count() == 1
    finally:
        Moody.gate.set()
    painted(page, "pixel:5,7")
    assert page.locator(".notice").inner_text() == ""


def test_another_image_is_shown_while_the_model_runs(photos: Path, explore: Open) -> None:
    Moody.gate.set()
    page = explore(Moody(), images=[photos / "a.png", photos / "b.png"])
    painted(page, "pixel:12,10")
    page.locator(".answer .bar:not(.empty)").wait_for()
    Moody.gate.clear()
    try:
        with page.expect_request("**/ask"):
            hover(over(page), 5, 7, SIZE)
        page.locator(".strip button").last.click()
        page.wait_for_function("() => !document.querySelector('.panel.opening')")
        hover(over(page), 9, 7, SIZE)
        said(page, ".input .seen", "^sees 5×3 pixels, from 7, 6$")
    finally:
        Moody.gate.set()
    painted(page, "pixel:9,7")


def test_a_model_that_fails_fails_at_one_question(photos: Path, explore: Open) -> None:
    Moody.gate.set()
    page = explore(Moody(), images=[photos / "a.png", photos / "black.png"])
    painted(page, "pixel:12,10")
    page.locator(".strip button").last.click()
    said(page, ".problem", ".")
    problem = page.locator(".problem").inner_text()
    assert "it is too dark" in problem
    assert "\n" not in problem
    page.locator(".strip button").first.click()
    painted(page, "pixel:12,10")
    hover(over(page), 5, 7, SIZE)
    painted(page, "pixel:5,7")
    assert page.locator(".problem").inner_text() == ""
    page.locator("[name=seed]").fill("pixel:99,0")
    page.keyboard.press("Enter")
    said(page, ".problem", "pixel:99,0")
    assert page.locator(".input .map").evaluate("c => c.style.opacity") == "0"


def test_what_went_wrong_with_one_model_stays_while_the_other_answers(
    photos: Path, explore: Open
) -> None:
    Moody.gate.set()
    page = explore(Moody(), Blur(), images=[photos / "black.png", photos / "a.png"])
    page.locator(".strip button").last.click()
    for x in (5, 6, 7):
        page.wait_for_function("() => document.querySelectorAll('.panel')[1].dataset.answer")
        hover(over(page, 1), x, 7, SIZE)
        painted(page, f"pixel:{x},7", 1)
        said(page, ".problem", "it is too dark")
    page.locator(".strip button").first.click()
    painted(page, "pixel:7,7", 0)
    assert page.locator(".problem").inner_text() == ""


HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_tab_that_was_hidden_asks_what_it_missed(photos: Path, explore: Open) -> None:
    Moody.gate.set()
    page = explore(Moody(), images=[photos / "a.png", photos / "b.png"])
    painted(page, "pixel:12,10")
    for y, deed in ((7, "hover"), (8, "image")):
        Moody.gate.clear()
        try:
            with page.expect_request("**/ask"):
                hover(over(page), 5, y, SIZE)
            if deed == "image":
                page.locator(".strip button").last.click()
            with page.expect_response("**/cancel"):
                page.evaluate(HIDE, True)
        finally:
            Moody.gate.set()
        page.evaluate(HIDE, False)
        painted(page, f"pixel:5,{y}")
    assert page.locator("header .image").inner_text() == "b.png"


CUT = """() => {
  const whole = window.fetch;
  window.fetch = async (path, how) => {
    if (path !== "/ask") return whole(path, how);
    window.fetch = whole;
    const { headers } = await whole(path, how);
    const cut = (stream) => stream.error(new TypeError("network error"));
    return new Response(new ReadableStream({ start: cut }), { headers });
  };
}"""


def test_a_connection_that_ends_in_an_answer_is_told(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    page.evaluate(CUT)
    hover(over(page), 5, 7, SIZE)
    said(page, ".problem", "^The server does not answer")
    hover(over(page), 6, 7, SIZE)
    painted(page, "pixel:6,7")
    assert page.locator(".problem").inner_text() == ""


def test_two_tabs_are_each_answered(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    other = page.context.new_page()
    explore.watch(other)  # type: ignore[attr-defined]
    other.goto(page.url.partition("#")[0])
    painted(other, "pixel:12,10")
    for n in range(4):
        hover(over(page), 5 + n, 7, SIZE)
        hover(over(other), 15, 7 + n, SIZE)
    painted(page, "pixel:8,7")
    painted(other, "pixel:15,10")


def test_an_answer_to_another_method_than_the_one_chosen_is_not_painted(
    photos: Path, explore: Open
) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    page.locator(".answer .bar:not(.empty)").wait_for()  # the output is there as well
    page.evaluate(LOG)
    held: list[Any] = []
    page.route("**/ask", lambda route: route.continue_() if held else held.append(route))
    hover(over(page), 5, 7, SIZE)
    wait_until(lambda: page.wait_for_timeout(10) or held)
    page.select_option("[name=method]", "input-x-gradient")
    held[0].continue_()
    page.locator(".panel[data-method=input-x-gradient]").wait_for()
    assert page.evaluate("window.answers") == ["pixel:5,7"]


def test_500_quick_moves_are_answered_in_order(photos: Path, explore: Open) -> None:
    page = explore(Blur(), images=[photos / "a.png"])
    painted(page, "pixel:12,10")
    page.locator(".answer .bar:not(.empty)").wait_for()  # the output is there as well
    page.evaluate(LOG)
    under_way = 0
    most = 0

    def begun(request: Any) -> None:
        nonlocal under_way, most
        under_way += request.url.endswith("/ask")
        most = max(most, under_way)

    def ended(request: Any) -> None:
        nonlocal under_way
        under_way -= request.url.endswith("/ask")

    page.on("request", begun)
    page.on("requestfinished", ended)
    moves = [(n % 24, (n // 24) % 20) for n in range(500)]
    asked = [f"pixel:{x},{y}" for x, y in moves]
    move = """([moves, [W, H]]) => new Promise((done) => {
      const canvas = document.querySelector(".answer .map");
      const { left, top, width, height } = canvas.getBoundingClientRect();
      const next = () => {
        const [x, y] = moves.shift();
        canvas.dispatchEvent(new PointerEvent("pointermove", {
          clientX: left + ((x + 0.5) * width) / W, clientY: top + ((y + 0.5) * height) / H,
        }));
        if (moves.length) setTimeout(next); else done();
      };
      next();
    })"""
    memory = page.context.new_cdp_session(page)

    def held() -> int:
        memory.send("HeapProfiler.collectGarbage")
        return int(memory.send("Runtime.getHeapUsage")["usedSize"])

    page.evaluate(move, [moves[:50], SIZE])
    painted(page, asked[49])
    before = held()
    page.evaluate(move, [moves[50:], SIZE])
    painted(page, asked[-1])
    seen = page.evaluate("window.answers")
    places = iter(asked)
    assert all(seed in places for seed in seen)  # each after the one before
    assert len(seen) > 5
    assert most == 1
    assert held() - before < 2**20
