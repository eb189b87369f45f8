"""What goes wrong while a model runs is said in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradviz.errors import ModelError, UsageError
from gradviz.model.load import load_model, wrap
from gradviz.model.model import Model
from tests.helpers.nets import OnlyGray

Load = Any


@pytest.mark.parametrize("kind", ["pickled.pt", "scripted.ts", "traced.ts", "frozen.ts"])
def test_a_wrong_number_of_channels(load: Load, kind: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(kind)(torch.rand(1, 1, 8, 8))
    message = str(caught.value)
    assert message.endswith("the model takes 3 channels and got 1: use --channels rgb")
    assert kind in message
    assert "[1, 1, 8, 8]" in message


@pytest.mark.parametrize(("channels", "advice"), [(1, "--channels gray"), (4, "[4, H, W]")])
def test_the_advice_depends_on_what_the_model_takes(channels: int, advice: str) -> None:
    model = wrap(nn.Conv2d(channels, 2, 1))
    with pytest.raises(ModelError) as caught:
        model(torch.rand(1, 3, 8, 8))
    assert advice in str(caught.value)
    assert f"takes {channels} channels and got 3" in str(caught.value)


class Skip(nn.Module):
    """Only takes sides that are even."""

    def forward(self, x: Tensor) -> Tensor:
        half = nn.functional.max_pool2d(x, 2)
        return x + nn.functional.interpolate(half, scale_factor=2.0)


class Viewed(nn.Module):
    """Only takes 8x8, by a fixed view."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1, 64)


MISFITS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (Skip(), (1, 1, 7, 8)),
    (nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), (1, 1, 7, 8)),
    (Viewed(), (1, 1, 7, 9)),
    (nn.MaxPool2d(4), (1, 1, 2, 2)),
    (nn.Conv2d(1, 1, 5), (1, 1, 3, 3)),
    (nn.ReflectionPad2d(4), (1, 1, 3, 3)),
]


@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize(("module", "shape"), MISFITS)
def test_a_size_that_does_not_fit(module: Any, shape: tuple[int, ...], script: bool) -> None:
    model = wrap(torch.jit.script(module) if script else module)
    with pytest.raises(ModelError) as caught:
        model(torch.rand(shape))
    message = str(caught.value)
    assert "--resize" in message
    assert "--multiple" in message
    assert "\n" not in message
    assert "Traceback" not in message
    assert message.count("RuntimeError") == 1


class Raises(nn.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (ValueError("some\ntext\nthe  point"), "ValueError: the point"),
        (KeyError("depth"), "KeyError: 'depth'"),
        (AssertionError(), "AssertionError"),
        (RuntimeError("CUDA error: an assert\nCompile with that"), "RuntimeError: CUDA error: an"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried 1 GiB"),
            "--resize or a smaller --batch-size",
        ),
        (SystemExit("no licence"), "SystemExit: no licence"),
    ],
)
def test_whatever_a_model_raises(error: BaseException, end: str) -> None:
    with pytest.raises(ModelError) as caught:
        wrap(Raises(error))(torch.rand(1, 3, 4, 4))
    message = str(caught.value)
    assert end in message
    assert message.startswith("Raises: cannot run on an input [1, 3, 4, 4]: ")
    assert "\n" not in message
    assert caught.value.__cause__ is not None


def test_an_interrupt_is_not_the_models_failure() -> None:
    with pytest.raises(KeyboardInterrupt):
        wrap(Raises(KeyboardInterrupt()))(torch.rand(1, 3, 4, 4))


def test_a_script_that_raises() -> None:
    model = wrap(torch.jit.script(OnlyGray()))
    with pytest.raises(ModelError, match=r"only gray images$") as caught:
        model(torch.rand(1, 3, 4, 4))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    "x",
    [torch.rand(3, 4, 4), torch.rand(1, 3, 4, 4, dtype=torch.float64), torch.rand(2, 2)],
)
def test_an_input_that_is_no_batch_of_the_models_numbers(x: Tensor) -> None:
    with pytest.raises(UsageError, match=r"expected an input \[N, C, H, W\] of torch.float32 on c"):
        wrap(nn.ReLU())(x)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"device": "cuda:99"}, ["--device cuda:99", "cpu"]),
        ({"device": "gpu"}, ["--device gpu", "cpu"]),
        ({"precision": "half"}, ["--precision half", "float32", "bfloat16"]),
        ({"precision": "float16"}, ["--precision float16", "cuda", "bfloat16"]),
    ],
)
def test_a_device_or_precision_that_is_not_there(
    files: Any, options: dict[str, str], parts: list[str]
) -> None:
    makers: list[tuple[Callable[..., Model], Any]] = [
        (wrap, nn.ReLU()),
        (load_model, files / "scripted.ts"),
    ]
    for make, model in makers:
        with pytest.raises(UsageError) as caught:
            make(model, **options)
        assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    ("count", "name", "expected"),
    [
        (0, "auto", "cpu"),
        (2, "auto", "cuda:0"),
        (2, "cuda", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
        (2, "cpu", "cpu"),
    ],
)
def test_devices_by_name(
    monkeypatch: pytest.MonkeyPatch, count: int, name: str, expected: str
) -> None:
    from gradviz.model.load import device_of, precision_of

    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert device_of(name) == torch.device(expected)
    assert precision_of("bfloat16", device_of(name))[0] is torch.bfloat16
    if expected != "cpu":
        assert precision_of("float16", device_of(name))[0] is torch.float16


def test_wrap_leaves_the_callers_module_alone(net: nn.Module) -> None:
    module = type(net)()
    module.train()
    model = wrap(module, precision="float64", labels=["a", "b", "c"])
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    before = module.state_dict()["norm.running_mean"].clone()
    model(x)
    assert module.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in module.parameters())
    assert torch.equal(module.state_dict()["norm.running_mean"], before)
    assert (model.path, model.sha256, model.name) == (None, None, "SmallNet")
    assert model.labels == ("a", "b", "c")
    module.double().eval()
    torch.testing.assert_close(model(x), module(x))


# Of torch's own, while it copies the module of an exported program.
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")
def test_wrap_takes_scripted_and_exported_modules(net: nn.Module, files: Any) -> None:
    x = torch.rand(2, 3, 8, 8)
    exported = torch.export.load(files / "dynamic.pt2").module()
    for module in (torch.jit.script(net), exported):
        torch.testing.assert_close(wrap(module)(x), net(x))
    frozen = torch.jit.freeze(torch.jit.script(net))
    with pytest.raises(UsageError, match="no float64"):
        wrap(frozen, precision="float64")


class Masked(nn.Module):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x * mask


class Entries(nn.Module):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return batch["image"] * 2


class Named(nn.Module):
    def forward(self, *, image: Tensor) -> Tensor:
        return image


class Pair(nn.Module):
    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        image, _ = batch
        return image


WRAPPER = "write a small module whose forward takes that and calls the model"


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize(
    "net, wants",
    [
        (Masked(), r"forward\(x, mask\)"),
        (Entries(), r"forward\(batch\)"),
        (Named(), r"forward\(image\)"),
        (Pair(), r"forward\(batch\)"),
        (nn.Conv3d(3, 2, 3), "an input of five axes, as of a video"),
        (nn.BatchNorm3d(3), "an input of five axes, as of a video"),
    ],
    ids=["two", "dict", "keyword", "pair", "video", "video norm"],
)
def test_a_model_that_wants_something_else_is_told_with_what_it_wants(
    net: nn.Module, wants: str, scripted: bool
) -> None:
    jit: Any = torch.jit
    if scripted and isinstance(net, Named):
        net = Masked()
        wants = r"forward\(x, mask\)"
    model = wrap(jit.script(net) if scripted else net)
    with pytest.raises(ModelError, match=f"the model wants {wants}, and gradviz calls.*{WRAPPER}"):
        model(torch.rand(1, 3, 8, 8))


class TextAndImages(nn.Module):
    """As the models of transformers that compare images with text."""

    def forward(
        self, input_ids: Tensor | None = None, pixel_values: Tensor | None = None
    ) -> Tensor:
        assert input_ids is None and pixel_values is not None
        return 2 * pixel_values


def test_images_enter_by_keyword_if_text_comes_first() -> None:
    x = torch.rand(1, 3, 4, 4)
    assert torch.equal(wrap(TextAndImages())(x), 2 * x)
