"""The sample images are what their renderer draws, the sample models as good as they say."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor, nn

import gradviz
from tests.helpers.paths import ROOT

IMAGES = ROOT / "sample_images"
MODELS = ROOT / "sample_models"


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


render = module(IMAGES / "render.py")
evaluate = module(MODELS / "evaluate.py")
architectures = module(MODELS / "architectures.py")


def opened(name: str) -> Image.Image:
    with Image.open(IMAGES / name) as image:
        image.load()
    return image


def folder_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if "__pycache__" not in str(file))


def card(stem: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((MODELS / f"{stem}.yaml").read_text())
    return read


def from_card(stem: str, state: dict[str, Tensor]) -> nn.Module:
    """The model as its card says to build it."""
    file, factory = card(stem)["arch"].split(":")
    assert file == "architectures.py"
    model: nn.Module = getattr(architectures, factory)(**card(stem)["arch_args"])
    model.load_state_dict(state)
    return model.eval()


def depth_model() -> nn.Module:
    return from_card("depth", load_file(MODELS / "depth.safetensors"))


def shapes_model() -> nn.Module:
    state = torch.load(MODELS / "shapes.pt", weights_only=True)["state_dict"]
    return from_card("shapes", {name.removeprefix("module."): state[name] for name in state})


def model_input(name: str, stem: str) -> Tensor:
    """A sample image as the card of a model wants it."""
    wanted = card(stem)["preprocess"]
    image = ImageOps.exif_transpose(opened(name)).convert("RGB")
    scale, multiple = wanted["resize"] / min(image.size), wanted.get("multiple", 1)
    width, height = (round(side * scale / multiple) * multiple for side in image.size)
    pixels = np.asarray(image.resize((width, height)), dtype=np.float32) / 255
    normal = (pixels - np.float32(wanted["mean"])) / np.float32(wanted["std"])
    return torch.from_numpy(normal).permute(2, 0, 1)[None]


# The figures


@pytest.fixture(scope="module")
def stated() -> dict[str, float]:
    rows = re.findall(r"^\| (.+?) \| ([\d.]+) \|$", (MODELS / "README.md").read_text(), re.M)
    return {name: float(value) for name, value in rows}


def test_depth_is_as_good_as_stated(stated: dict[str, float]) -> None:
    measured = evaluate.depth_figures()
    error, constant = measured.values()
    assert error <= 0.10
    assert error <= constant / 3
    assert measured == pytest.approx({name: stated[name] for name in measured}, abs=0.003)


def test_shapes_are_as_good_as_stated(stated: dict[str, float]) -> None:
    measured = evaluate.shapes_figures()
    (accuracy,) = measured.values()
    assert accuracy >= 0.97
    assert measured == pytest.approx({name: stated[name] for name in measured}, abs=0.005)


def test_boxes_are_as_good_as_stated(stated: dict[str, float]) -> None:
    measured = evaluate.boxes_figures()
    (precision,) = measured.values()
    assert precision >= 0.8
    assert measured == pytest.approx({name: stated[name] for name in measured}, abs=0.01)


def test_the_vit_is_as_good_as_stated(stated: dict[str, float]) -> None:
    measured = evaluate.vit_figures()
    (accuracy,) = measured.values()
    assert accuracy >= 0.95
    assert measured == pytest.approx({name: stated[name] for name in measured}, abs=0.01)


def test_sides_are_where_stated(stated: dict[str, float]) -> None:
    """Of fewer images than stated: each may differ by as much as chance allows."""
    measured = evaluate.edges_figures(60)
    assert measured == pytest.approx({name: stated[name] for name in measured}, abs=0.15)


def test_average_precision_by_hand() -> None:
    """Precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3."""
    hits = [(0.9, True), (0.8, False), (0.7, True)]
    assert evaluate.average_precision(hits, 3) == pytest.approx(1 / 3 + 2 / 9)


def test_best_constant_is_the_best() -> None:
    depth = torch.tensor([1.0, 2.0, 3.0, 8.0, 9.0])

    def error(answer: float) -> float:
        return float(((answer - depth).abs() / depth).mean())

    best = float(evaluate.best_constant(depth))
    assert error(best) == pytest.approx(min(error(k / 100) for k in range(1, 1000)))


@pytest.mark.parametrize("stem", [f"room_0{k}" for k in range(1, 7)])
def test_depth_of_the_shipped_rooms(stem: str) -> None:
    with torch.no_grad():
        answer = depth_model()(model_input(f"{stem}.png", "depth"))
    depth = torch.from_numpy(np.load(IMAGES / "depth" / f"{stem}.npy"))[None, None]
    answer = nn.functional.interpolate(answer, depth.shape[2:])
    assert ((answer - depth).abs() / depth).mean() < 0.15


@pytest.mark.parametrize(
    ("name", "shown"), [("shapes_01", "triangle"), ("shapes_02", "circle"), ("shapes_03", "square")]
)
def test_shapes_are_named(name: str, shown: str) -> None:
    scores = shapes_model()(model_input(f"{name}.png", "shapes"))
    assert card("shapes")["labels"][scores.argmax()] == shown


def test_two_shapes_take_the_first_two_ranks_and_each_its_own_gradient() -> None:
    image = model_input("shapes_04.png", "shapes").requires_grad_()
    scores = shapes_model()(image)[0]
    star, circle = (card("shapes")["labels"].index(label) for label in ("star", "circle"))
    assert set(scores.topk(2).indices.tolist()) == {star, circle}

    def heat(label: int) -> Tensor:
        """The star stands in the left half, the circle in the right: the heat of each."""
        (gradient,) = torch.autograd.grad(scores[label], image, retain_graph=True)
        return gradient.abs().sum((0, 1, 2)).view(2, -1).sum(1)

    assert heat(star)[0] > heat(star)[1]
    assert heat(circle)[0] < heat(circle)[1]


# The model files


def test_script_and_weights_are_the_same_model() -> None:
    image = model_input("room_wide.png", "depth")
    with torch.no_grad():
        torch.testing.assert_close(evaluate.load_depth()(image), depth_model()(image))


def test_checkpoint_is_prefixed_and_has_an_epoch() -> None:
    checkpoint = torch.load(MODELS / "shapes.pt", weights_only=True)
    assert checkpoint.keys() == {"state_dict", "epoch"}
    assert all(name.startswith("module.") for name in checkpoint["state_dict"])


def test_depth_moves_with_the_image_by_its_stride() -> None:
    model = depth_model().double()
    image = torch.rand(1, 3, 168, 168, dtype=torch.float64, generator=torch.manual_seed(0))

    def middle(shift: int) -> Tensor:
        """What the model says of the same 8x8 pixels, in a window moved by `shift`."""
        window = image[..., shift : shift + 144, shift : shift + 144]
        here = slice(72 - shift, 80 - shift)
        with torch.no_grad():
            answer: Tensor = model(window)[..., here, here]
        return answer

    torch.testing.assert_close(middle(8), middle(0), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(middle(4), middle(0), rtol=1e-6)


def test_depth_sees_a_bounded_field() -> None:
    image = torch.rand(1, 3, 256, 256, generator=torch.manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(depth_model()(image)[0, 0, 128, 128], image)
    rows = gradient.abs().sum((0, 1, 3)).nonzero()
    assert 60 < rows.max() - rows.min() + 1 <= 140


def test_class_gradient_lights_up_the_shape() -> None:
    """A pixel of the shape is several times as hot as one of the ground, strokes and all."""
    model, ratios = shapes_model(), []
    for seed in range(24):
        drawn = render.render_shapes(evaluate.HELD_OUT + seed, 96)
        image = evaluate.to_input(torch.from_numpy(drawn.rgb).permute(2, 0, 1))[None]
        image.requires_grad_()
        (gradient,) = torch.autograd.grad(model(image).max(), image)
        heat, shape = gradient[0].abs().sum(0), torch.from_numpy(drawn.mask > 0)
        ratios.append(float(heat[shape].mean() / heat[~shape].mean()))
    assert np.median(ratios) > 3


def test_models_are_small() -> None:
    assert folder_size(MODELS) < 5_000_000


# The images


def decoded(name: str) -> NDArray[Any]:
    return np.asarray(opened(name))


@pytest.mark.parametrize("stem", ["room_01", "room_04"])
def test_room_is_rendered_again(stem: str) -> None:
    room = render.render_room(*render.ROOMS[stem], render.FINE)
    assert np.array_equal(room.rgb, decoded(f"{stem}.png"))
    assert np.array_equal(room.depth, np.load(IMAGES / "depth" / f"{stem}.npy"))


@pytest.mark.parametrize("stem", ["shapes_01", "shapes_04"])
def test_shapes_are_drawn_again(stem: str) -> None:
    assert np.array_equal(render.draw_shapes(stem).rgb, decoded(f"{stem}.png"))


@pytest.mark.parametrize("stem", list(render.ROOMS))
def test_depth_has_the_upright_size(stem: str) -> None:
    _, width, height = render.ROOMS[stem]
    depth = np.load(IMAGES / "depth" / f"{stem}.npy")
    assert depth.shape == (height, width)
    assert depth.dtype == np.float32
    assert 0.5 < depth.min() < depth.max() < 20


def test_formats() -> None:
    assert opened("room_01.png").size == (128, 128)
    assert opened("room_wide.png").size == (320, 192)
    assert opened("room_gray16.png").mode == "I;16"
    gray = decoded("room_gray16.png")
    assert (gray.min(), gray.max()) == (0, 65535)


def test_cutout_hides_magenta() -> None:
    assert opened("room_cutout.png").mode == "RGBA"
    pixels = decoded("room_cutout.png")
    hidden = pixels[..., 3] == 0
    assert hidden.mean() > 0.05
    assert ((pixels[..., 3] > 0) & (pixels[..., 3] < 255)).mean() > 0.05
    assert (pixels[hidden] == (255, 0, 255, 0)).all()


def test_phone_is_stored_turned() -> None:
    photo = opened("room_phone.jpg")
    assert photo.getexif()[0x0112] == 6
    assert photo.size == (180, 240)
    upright = np.asarray(ImageOps.exif_transpose(photo), dtype=float)
    room = render.render_room(*render.ROOMS["room_phone"])
    assert np.abs(upright - room.rgb).mean() < 5


def test_images_are_small() -> None:
    assert folder_size(IMAGES) < 4_000_000


# The renderer's geometry, against closed forms


def hall(half: float = 50.0) -> Any:
    """So large that the floor fills the lower half of the view."""
    gray = render.plain(np.full((3, 1), 0.5))
    sides = np.full((3, 1), half)
    return render.Hall(np.array([[0.0], [half], [0.0]]), sides, gray, gray, gray, gray)


def scene(camera: Any, *things: Any) -> Any:
    return render.Scene(camera, np.array([[0.0], [4.0], [0.0]]), hall(), things)


def test_floor_depth() -> None:
    """depth = height / (sin pitch − up · cos pitch), whatever the column and the yaw."""
    height, pitch = 1.5, 0.2
    depth = render.depth_of(scene(render.Camera(height, pitch, yaw=0.3)), 60, 80)
    up = (40 - np.arange(45, 80) - 0.5) / (render.FOCAL * 60)
    exact = height / (np.sin(pitch) - up * np.cos(pitch))
    assert depth[45:] == pytest.approx(np.tile(exact[:, None], 60), rel=1e-6)


def test_ball_depth() -> None:
    """Level with the camera, its nearest point lies on the axis; off it, on the circle."""
    gray = render.plain(np.full((3, 1), 0.5))
    ball = render.Ball(np.array([[0.0], [1.5], [4.0]]), 1.0, gray)
    depth = render.depth_of(scene(render.Camera(1.5, 0.0, 0.0), ball), 65, 65)
    assert depth[32, 32] == depth[32].min() == pytest.approx(3.0)
    across = (np.arange(65) + 0.5 - 32.5) / (render.FOCAL * 65)
    seen = np.abs(across) < 0.25
    # (across · z)² + (z − 4)² = 1
    exact = (4 - np.sqrt(1 - 15 * across[seen] ** 2)) / (1 + across[seen] ** 2)
    assert depth[32, seen] == pytest.approx(exact, rel=1e-6)


def test_turned_crate_depth() -> None:
    """An eighth of a turn brings an edge forward, half a diagonal before the centre."""
    gray = render.plain(np.full((3, 1), 0.5))
    crate = render.Crate(np.array([[0.0], [1.5], [4.0]]), np.full((3, 1), 0.5), np.pi / 4, gray)
    depth = render.depth_of(scene(render.Camera(1.5, 0.0, 0.0), crate), 65, 65)
    assert depth[32, 32] == depth[32].min() == pytest.approx(4 - np.sqrt(0.5))


def test_shadow_darkens_the_floor() -> None:
    """Under a floating ball straight below the lamp, and nowhere far from it."""
    camera = render.Camera(1.5, 0.5, 0.0)
    gray = render.plain(np.full((3, 1), 0.5))
    at = np.array([[0.0], [3.0], [4.0]])
    ball = render.Ball(at, 0.3, gray)
    lamp = np.array([[0.0], [6.0], [4.0]])
    open_floor = render.Scene(camera, lamp, hall(), ())
    shaded = render.Scene(camera, lamp, hall(), (ball,))
    ratio = render.radiance(shaded, 64, 64, 2) / render.radiance(open_floor, 64, 64, 2)
    depth = render.depth_of(open_floor, 64, 64)
    assert ratio[np.abs(depth[:, 32] - 4 * np.cos(0.5) - 1.5 * np.sin(0.5)) < 0.1, 32].max() < 0.8
    assert ratio[-4:] == pytest.approx(1)


@pytest.mark.parametrize(
    "model, image, seed, side",
    [
        ("shapes.yaml", "shapes_01.png", "top", 48),
        ("depth.ts", "room_01.png", "ones", 64),
    ],
)
def test_integrated_gradients_are_complete(
    model: str, image: str, seed: str, side: int, models: Path, images: Path
) -> None:
    """To a thousandth of the output's change, at a reduced size: the path has many kinks."""
    net = gradviz.load_model(models / model)
    assert net.preprocess
    (result,) = gradviz.saliency(
        net,
        images / image,
        seed,
        method="integrated-gradients",
        batch_size=16,
        preprocess=net.preprocess.model_copy(update={"resize": side}),
    )
    assert result.completeness is not None
    change = float(result.array.sum(dtype=np.float64)) + result.completeness
    assert abs(result.completeness) < 1e-3 * abs(change)
