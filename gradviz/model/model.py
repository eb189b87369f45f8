"""A trained model as one callable value, whatever format it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradviz.detections import Detections
from gradviz.errors import DetectionsError, ModelError, UsageError
from gradviz.image.other_input import OtherInput
from gradviz.image.preprocess import Preprocess
from gradviz.layout import Layout
from gradviz.model.detector import Reading, detections_in, scores_path
from gradviz.model.foreign import foreign_code, wrong_channels
from gradviz.model.formats.imported import ImportedCode
from gradviz.model.formats.script import as_written
from gradviz.model.inputs import Inputs, InputShape, assigned, program_shapes, turned
from gradviz.model.outputs import check_differentiable, leaves, part_at, select_output
from gradviz.model.support import Capability, Format, support
from gradviz.model.unchanged import same_attributes, same_buffers


@dataclass(frozen=True)
class Model:
    """A model that is ready to be called: evaluating, its parameters frozen, on its device."""

    module: nn.Module
    """The network."""
    format: Format
    """The format of its file, which decides its capabilities: see `gradviz.model.support`."""
    device: torch.device
    """The device of its weights and of inputs."""
    dtype: torch.dtype
    """The number type of its weights, and of inputs."""
    path: Path | None = None
    """The weights file; None for a module from Python."""
    sha256: str | None = None
    """The hexadecimal SHA-256 of that file."""
    card: Path | None = None
    """The card that was used, if any."""
    arch: str | None = None
    """The factory spec that made the network, if one did."""
    arch_args: Mapping[str, object] = field(default_factory=dict)
    """The arguments of that factory."""
    weights_key: str | None = None
    """The dotted key of the weights in a checkpoint; None if they were the whole checkpoint."""
    output: str | None = None
    """The dotted path of the chosen output; None if there is only one."""
    boxes: str | None = None
    """The form of a detector's boxes, one of `BOX_FORMS`; None to find it in its output."""
    unit: str | None = None
    """The unit of the output's numbers, for colour bars; None if it is not known."""
    detects: bool = False
    """True if its output is read as detections."""
    for_layers: bool = False
    """True if all numbers of its output are put in one row, for the graph behind them alone."""
    classes: int | None = None
    """The number of classes of a detector; None if it is not known."""
    labels: tuple[str, ...] = ()
    """The names of the classes, in order; empty if unknown."""
    preprocess: Preprocess | None = None
    """The preprocessing of the card, or that beside the weights; None if neither is known."""
    preprocess_origin: str = "the model"
    """The file that describes the preprocessing."""
    preprocess_problem: str | None = None
    """The reason why the preprocessing beside the weights cannot be followed."""
    optimised: bool = False
    """True if this is a faster form of the loaded model."""
    input_shape: InputShape | None = None
    """The shape of an exported program's input, None for an axis that may vary; else None."""
    inputs: Inputs = field(default_factory=Inputs)
    """The inputs beside the images, and the argument by which images enter."""
    layout: Layout | None = None
    """The layout of layers' outputs that cannot be derived, if it is stated."""
    code: ImportedCode = field(default_factory=ImportedCode)
    """The code that the factory brought in."""
    notes: tuple[str, ...] = ()
    """The warnings about how it was loaded."""

    @property
    def batch(self) -> int | None:
        """The largest batch that an exported program takes; None if there is no limit."""
        return None if self.input_shape is None else self.input_shape[0]

    @property
    def name(self) -> str:
        """The name in messages: its path, or the class of a module from Python."""
        return str(self.path) if self.path is not None else type(self.module).__name__

    def recipe(self) -> Preprocess:
        """Return the preprocessing of images, or no steps if it is not known.

        Raises:
            UsageError: the weights come with a preprocessing that cannot be followed.
        """
        if self.preprocess_problem is not None:
            raise UsageError(
                f"{self.preprocess_problem}: give a recipe with --preprocess, or --preprocess none"
            )
        return self.preprocess or Preprocess()

    def describe(self) -> dict[str, object]:
        """Describe the model for run.json, in JSON-ready values."""
        return {
            "path": None if self.path is None else str(self.path),
            "sha256": self.sha256,
            "format": self.format.value,
            "card": None if self.card is None else str(self.card),
            "arch": self.arch,
            "arch_args": dict(self.arch_args),
            "weights_key": self.weights_key,
            "output": self.output,
            **({"boxes": self.boxes} if self.boxes else {}),
            "labels": list(self.labels),
            "input_shape": None if self.input_shape is None else list(self.input_shape),
            **({"inputs": others} if (others := self._described_others()) else {}),
            **({} if self.layout is None else {"layout": str(self.layout)}),
            "device": str(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
            "optimized": self.optimised,
        }

    def _described_others(self) -> dict[str, dict[str, object]]:
        return {name: other.describe() for name, other in self.inputs.others.items()}

    def with_others(self, others: Sequence[OtherInput]) -> Model:
        """Give the model its inputs beside the image, which stay the same for all images.

        Raises:
            UsageError: the model has no such input, or none is left for the image.
        """
        return self._with(assigned(self.module, others, self.device)) if others else self

    def as_detector(self) -> Model:
        """Return the model as a function whose output is detections, packed [N, K, 7]."""
        return replace(self, detects=True, classes=self._counted)

    @property
    def _counted(self) -> int | None:
        """The number of classes, by the labels or the configuration; None if neither has it."""
        # Models of transformers have it, also if their classes have no names.
        count = getattr(getattr(self.module, "config", None), "num_labels", None)
        return self.classes or len(self.labels) or (count if isinstance(count, int) else None)

    def recognised(self, x: Tensor) -> Model:
        """Return the model as a detector if its output can only be that of one, by one pass.

        Args:
            x: an input [N, C, H, W].
        """
        try:
            self(x)
        except DetectionsError:
            return self.as_detector()
        return self

    def turned(self, wrt: str, image: OtherInput) -> tuple[Model, OtherInput]:
        """Exchange the roles of an image and of another input.

        Args:
            wrt: the name of the other input.
            image: the image, which stays the same.

        Returns:
            the model as a function of the other input, and that input.

        Raises:
            UsageError: there is no such input, or it has no gradient.
        """
        inputs, other = turned(self.inputs, wrt, image)
        return self._with(inputs), other

    def _with(self, inputs: Inputs) -> Model:
        shape = self.input_shape
        if self.format is Format.EXPORTED and inputs.images is not None:
            batch, *sizes = program_shapes(self.module)[inputs.images]
            # An input of fewer axes enters as an image whose first axes have length 1.
            shape = (batch, *[1] * (3 - len(sizes)), *sizes)
        return replace(self, inputs=inputs, input_shape=shape)

    def batch_of(self, image: Tensor) -> Tensor:
        """Convert one image to a batch that the model takes, ready for a gradient.

        Args:
            image: [C, H, W], of any number type and on any device.

        Returns:
            [1, C, H, W], of `dtype` and on `device`; a leaf that requires a gradient.

        Raises:
            MemoryShort: the device has too little memory.
        """
        with foreign_code(f"{self.name}: the input cannot be made"):
            return image[None].to(self.device, self.dtype).requires_grad_()

    def __call__(self, x: Tensor) -> Tensor:
        """Compute the chosen output for a batch of images.

        Gradients are enabled, whatever the caller's mode. A batch that is smaller than an exported
        program's is padded with its last image, and the surplus is cut off again. Buffers that the
        model changes, such as counters, are restored.

        Args:
            x: [N, C, H, W], of `dtype` and on `device`.

        Returns:
            [N, ...], floating; [K] if the model is `for_layers`.

        Raises:
            UsageError: `x` is not such a tensor, or several outputs fit and none was named.
            DetectionsError: the output is that of a detector, and the model is not `detects`.
            ModelError: the model fails on `x`, does not take its shape, or its output is not a
                floating tensor with the batch first, or, if `x` requires a gradient, cannot be
                differentiated.
        """
        if self.detects:
            found = self.detections(x)
            with torch.enable_grad():
                y = found.packed()
        elif self.for_layers:
            y = self._in_one_row(x)
        else:
            output, count = self._run(x)
            self.check_no_detections(output, x)
            y = select_output(output, self.output, count)
            y = y[: len(x)] if count > len(x) else y
        if y.is_meta and not x.is_meta:
            raise ModelError(
                "the output cannot be differentiated: it is on the device meta, without numbers: "
                "load the weights onto a real one"
            )
        if x.requires_grad and (y.numel() or self.for_layers):
            check_differentiable(y)
        return y

    def detections(self, x: Tensor) -> Detections:
        """Compute the boxes that a detector suggests.

        Args:
            x: [N, C, H, W], of `dtype` and on `device`.

        Returns:
            the boxes of the N images, with their graph.

        Raises:
            UsageError: `x` is not such a tensor, or the output fits several readings.
            ModelError: the model fails on `x`, or is no detector.
        """
        output, _ = self._run(x)
        with foreign_code("the model's boxes cannot be read"), torch.enable_grad():
            return detections_in(part_at(output, self.output), self._reading(x))

    def _in_one_row(self, x: Tensor) -> Tensor:
        """Compute all numbers of the output that have a gradient, [K]; a detector may find none."""
        output, _ = self._run(x)
        found = [leaf for _, leaf in leaves(part_at(output, self.output))]
        rows = [leaf.flatten() for leaf in found if isinstance(leaf, Tensor) and leaf.requires_grad]
        with torch.enable_grad():
            return torch.cat(rows or [x.new_zeros(0)])

    def check_no_detections(self, output: object, x: Tensor) -> None:
        """Check that an output need not be read as detections.

        Args:
            output: whatever the module returned.
            x: the images that entered.

        Raises:
            DetectionsError: it can only be that of a detector.
        """
        with foreign_code("the model's output cannot be read"):
            found = scores_path(part_at(output, self.output), self._reading(x))
        if found is not None:
            raise DetectionsError(
                f"{self.name}: the output holds detections, which are boxes with scores, and is no "
                "map: ask for one with --seed box:N",
                ".".join(part for part in (self.output, found) if part),
            )

    def _reading(self, x: Tensor) -> Reading:
        height, width = x.shape[2:]
        return Reading((width, height), len(x), self._counted, self.boxes)

    def _run(self, x: Tensor) -> tuple[Any, int]:
        """Call the module; return its whole output, and the number of images that entered."""
        self._check(x)
        surplus = 0 if self.batch is None else self.batch - len(x)
        # An eager module may hold TorchScript as well, so every format is run this way.
        with (
            foreign_code(f"{self.name}: cannot run on {self._entering(x)}", self.module),
            torch.enable_grad(),
            as_written(),
            same_buffers(self.module),
            same_attributes(self.module) if x.is_meta else nullcontext(),
        ):
            # A copy, since a model may write into its input, and autograd forbids that for a leaf.
            full = torch.cat([x, x[-1:].expand(surplus, -1, -1, -1)]) if surplus else x.clone()
            output = self.inputs.call(self.module, full)
        return output, len(full)

    def _entering(self, x: Tensor) -> str:
        """Name the shapes that enter, for messages."""
        others = (f"{k} {[len(x), *o.values.shape[1:]]}" for k, o in self.inputs.others.items())
        return " and ".join([f"an input {list(x.shape)}", *others])

    def _check(self, x: Tensor) -> None:
        if x.dim() != 4 or x.dtype != self.dtype or x.device != self.device:
            raise UsageError(
                f"{self.name}: expected an input [N, C, H, W] of {self.dtype} on {self.device}, "
                f"got {list(x.shape)} of {x.dtype} on {x.device}"
            )
        n, c, h, w = x.shape
        if (same := self.inputs.size) not in (None, (w, h)):
            raise ModelError(
                f"{self.name}: expected an image of {same[0]}x{same[1]} pixels, as the picture "
                f"that is its other input, got {w}x{h}: use --resize {same[0]}x{same[1]}"
            )
        if self.input_shape is None:
            return
        batch, channels, height, width = self.input_shape
        if c != (channels or c):
            raise ModelError(f"{self.name}: {wrong_channels(channels or c, c)}")
        if (h, w) != (height or h, width or w):
            size = f"{width or w}x{height or h}"
            reason = support(self.format, Capability.ANY_SIZE).reason
            raise ModelError(
                f"{self.name}: expected an image of {size} pixels, got {w}x{h} ({reason}): "
                f"use --resize {size} or --crop {size}"
            )
        if n > (batch or n):
            reason = support(self.format, Capability.ANY_BATCH).reason
            raise ModelError(
                f"{self.name}: expected at most {batch} images at once, got {n} ({reason}): "
                f"use --batch-size {batch}"
            )


@contextmanager
def deterministic() -> Iterator[None]:
    """Draw the same random numbers in every such block, and leave the caller's draws untouched."""
    with torch.random.fork_rng():
        # torch.manual_seed also notes the stack for devices that are not used: 2 ms each time.
        torch.default_generator.manual_seed(0)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(0)
        yield


def in_doubles(model: Model) -> Model:
    """Convert the model to float64, in place; return it unchanged if its format cannot be.

    Raises:
        ModelError: the conversion fails.
    """
    if not support(model.format, Capability.FLOAT64).supported:
        return model
    with foreign_code(f"{model.name}: cannot be made float64: use --precision float32"):
        return replace(model, module=model.module.to(torch.float64), dtype=torch.float64)


def size_of(model: Model) -> dict[str, int]:
    """Count the parameters and their bytes, as loaded; shared ones count once.

    For a frozen TorchScript they are the floating constants of its code, which include the running
    statistics of batch norms that were not folded into convolutions.

    Returns:
        `count` and `bytes`.
    """
    frozen = model.format is Format.FROZEN
    weights = list(_constants(model.module) if frozen else model.module.parameters())
    return {
        "count": sum(weight.numel() for weight in weights),
        "bytes": sum(weight.numel() * weight.element_size() for weight in weights),
    }


def classes_of(module: nn.Module) -> int:
    """Count the numbers that the last parameter of a classifier gives; 0 if it has none."""
    last = next(iter([*module.parameters()][::-1]), torch.zeros(()))
    return len(last) if last.dim() else 0


def _constants(module: nn.Module) -> Iterator[Tensor]:
    # The graph must outlive its nodes, so it has a name.
    graph: Any = module.inlined_graph
    for node in graph.findAllNodes("prim::Constant"):
        value = node.output().toIValue() if node.output().type().kind() == "TensorType" else None
        if isinstance(value, Tensor) and value.is_floating_point():
            yield value
