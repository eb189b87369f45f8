"""Inspection of a model: its inputs and outputs, and the gradient's flow through its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from gradviz.arrays import Size
from gradviz.backward.graph import is_of_sigmoid, kind_of, users_of
from gradviz.backward.layer_outputs import ActivationRecorder
from gradviz.backward.layers import BY_WEIGHT, Layer, gradients_at, run_with_layers
from gradviz.commands.inspect.detections import NONE_FOUND, look_at_detections
from gradviz.commands.inspect.warnings import may_mix, warnings_of
from gradviz.errors import DetectionsError, ModelError, UsageError
from gradviz.field.dependence.trace import DependenceTrace, detached_layers
from gradviz.field.output_maps import no_map_in
from gradviz.field.sites import notes_on, site_of
from gradviz.image.load import LoadedImage
from gradviz.image.prepare import Prepared
from gradviz.image.preprocess import Preprocess
from gradviz.model.foreign import foreign_code
from gradviz.model.formats.trust import trust_tier
from gradviz.model.model import Model, deterministic, size_of
from gradviz.model.outputs import leaves, main_output
from gradviz.model.random_input import RandomInput, likely_sizes
from gradviz.runs.schema import InspectDocument, InspectedLayer
from gradviz.seeds.answers import first_answers, label_warnings
from gradviz.seeds.kinds import KINDS
from gradviz.seeds.outputs import OutputKind, output_kind
from gradviz.seeds.seed import Seed, default_seed
from gradviz.seeds.suppression import Suppression

RANDOM_NAME = "random"
"""The name that stands for an image if there is none."""


def inspect_model(
    model: Model,
    preprocess: Preprocess,
    image: LoadedImage | None = None,
    seed: Seed | None = None,
    input_size: Size | None = None,
    random_seed: int = 0,
) -> InspectDocument:
    """Run the model forward and backward once, and describe what happened.

    Args:
        model: the model.
        preprocess: the recipe for an image, or for random pixels in its place.
        image: the image; None for random input.
        seed: the seed; None for the default of the output.
        input_size: width and height of random input; None to choose.
        random_seed: the seed of the random input.

    Raises:
        SeedError: the seed does not fit the output.
        ModelError: the model fails on the input, or cannot be differentiated.
    """
    name = RANDOM_NAME if image is None else image.name
    warnings: list[str] = []
    scores: str | None = None
    with deterministic():
        if image is not None:
            prepared = image.prepared
            warnings += prepared.notes
            raw = _outputs(model, prepared)
        else:
            prepared, raw = _random(model, preprocess, input_size, random_seed)
        try:
            model.check_no_detections(raw, prepared.tensor[None])
        except DetectionsError as found:
            model, scores = model.as_detector(), found.scores
        keys = [key for key, value in leaves(raw) if _fits(value)]
        if model.output is None and len(keys) > 1 and not model.detects:
            model = replace(model, output=main_output(keys) or keys[0])
            warnings.append(
                f"the model has {len(keys)} outputs; looking at {model.output}: choose with "
                "--output KEY"
            )
        x = model.batch_of(prepared.tensor)
        recorder = ActivationRecorder(model.module)
        with DependenceTrace() as trace:
            y, layers = run_with_layers(model.module, model, x, recorder, model.layout)
    output = y.detach()[0]
    chosen = seed or default_seed(output, model.detects)
    site = replace(site_of(model, prepared, chosen), no_map=no_map_in(layers, model.layout))
    detections = look_at_detections(output, site) if model.detects else None
    if seed is None and detections is not None and not detections.count:
        warnings.append(NONE_FOUND)
        site = replace(site, suppression=Suppression(score=0))
    seed = chosen
    warnings += notes_on(seed, site)
    empty = detections is not None and not detections.boxes  # then no seed fits
    v = torch.zeros_like(output) if empty else seed.for_image(name).cotangent(output, site)
    v = v[None]
    classes = []
    if image is not None and output_kind(output) is OutputKind.SCORES and len(output) > 1:
        classes = first_answers(output, model.labels, is_of_sigmoid(y))
        warnings += label_warnings(len(output), model.labels)
    with foreign_code(f"{model.name}: the backward pass failed"):
        gradients = gradients_at(y, list(layers.values()), v)
        dead = dead_units(y, list(layers.values()))
    flows = [
        _flow(layer, gradients[layer.name], dead.get(layer.name), tuple(x.shape))
        for layer in layers.values()
    ]
    flows += (_detached(*each) for each in detached_layers(recorder, layers, trace))
    two = _of_two(model, x) if may_mix(y) else None
    shown = layers.output.arrangement if layers.output.spatial else None
    form = site.kind_of(output)
    if shown is not None and not shown.rows_last and form in (OutputKind.DENSE, OutputKind.ROWS):
        warnings.append(_ROWS_ELSEWHERE.format(list(y.shape)))
    warnings += warnings_of(y, two, flows, _idle(model.module, recorder), tuple(trace.random))
    described = model.describe() | {
        "trust": trust_tier(model.format, model.path, model.arch, bool(model.code.files)),
        "parameters": size_of(model),
    }
    return InspectDocument.model_validate(
        {
            "schema": 1,
            "kind": "inspect",
            "model": described,
            "inputs": [
                {"from": name, "shape": list(x.shape)},
                *(
                    {"from": name, "shape": list(other.values.shape)}
                    for name, other in model.inputs.others.items()
                ),
            ],
            "outputs": [
                _described(key, value, form if _is_chosen(key, raw, model.output) else None)
                if scores is None
                else _in_detector(key, value, key == scores)
                for key, value in leaves(raw)
                if isinstance(value, Tensor)
            ],
            **({} if detections is None else {"detections": detections}),
            **({"classes": [asdict(each) for each in classes]} if classes else {}),
            "seed": seed.spec,
            "layers": flows,
            "warnings": warnings,
        }
    )


_ROWS_ELSEWHERE = (
    "the output {} does not have its rows and columns last, so that pixel:X,Y and the other seeds "
    "of places read other axes: move them there in a small module around the model"
)


# Input and outputs --------------------------------------------------------------------------------


class _Keeping(nn.Module):
    """A module that keeps all outputs of a model, of which its caller gets one tensor."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.kept: object = None

    def forward(self, *inputs: Tensor, **named: Tensor) -> object:
        self.kept = self.module(*inputs, **named)
        return self.kept


def _outputs(model: Model, prepared: Prepared) -> object:
    """Run the model on one image; return all its outputs."""
    keeping = _Keeping(model.module)
    try:
        replace(model, module=keeping)(model.batch_of(prepared.tensor))
    except DetectionsError:
        return keeping.kept
    except UsageError:
        several = sum(map(_fits, (value for _, value in leaves(keeping.kept)))) > 1
        if model.output is not None or not several:
            raise
    return keeping.kept


def _fits(value: object) -> bool:
    """Return True if a value can be an output per image that has a gradient."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 0


def _random(
    model: Model, preprocess: Preprocess, size: Size | None, random_seed: int
) -> tuple[Prepared, object]:
    """Draw random pixels of a size that the model takes, and run the model on them."""
    random = RandomInput.of(model, preprocess, random_seed)
    failure: ModelError | None = None
    for tried in [size] if size else likely_sizes(model, preprocess):
        prepared = random.draw(tried)
        try:
            return prepared, _outputs(model, prepared)
        except ModelError as error:
            failure = failure or error
    assert failure is not None
    if size is not None:
        raise failure
    raise ModelError(f"{failure}; or name an input size that it takes: --input-size WxH") from None


def _of_two(model: Model, x: Tensor) -> Tensor | None:
    """Compute the output for the image twice; None if the model takes one image at a time."""
    try:
        return model(torch.cat([x, x]).detach().requires_grad_())
    except ModelError:
        return None


def _described(key: str, value: Tensor, chosen: OutputKind | None) -> dict[str, Any]:
    """Describe an output; its kind is known if it is the chosen one."""
    form = chosen or (output_kind(value[0]) if _fits(value) else None)
    layout = form.value if form else "no scores: it has no gradient per image"
    return _entry(key, value, layout, form, chosen is not None)


def _in_detector(key: str, value: Tensor, scores: bool) -> dict[str, Any]:
    """Describe an output of a detector, whose detections are chosen as a whole."""
    form = OutputKind.DETECTIONS if scores else None
    return _entry(key, value, form.value if form else "beside the scores", form, scores)


def _entry(
    key: str, value: Tensor, layout: str, form: OutputKind | None, chosen: bool
) -> dict[str, Any]:
    return {
        "key": key or None,
        "shape": list(value.shape),
        "type": str(value.dtype).removeprefix("torch."),
        "layout": layout,
        "seeds": [kind.form for kind in KINDS.values() if form in kind.outputs],
        "chosen": chosen,
    }


def _is_chosen(key: str, raw: object, output: str | None) -> bool:
    if output is not None:
        # The key may lead to a container with the tensor as its only one.
        return key == output or key.startswith(f"{output}.")
    only = [name for name, value in leaves(raw) if _fits(value)]
    return only == [key]


# Layers -------------------------------------------------------------------------------------------


def _flow(
    layer: Layer, gradient: Tensor | None, dead: Tensor | None, entered: Sequence[int]
) -> InspectedLayer:
    # An exported program runs a whole batch of the one image.
    copies = layer.shape[0] / entered[0]
    return InspectedLayer(
        name=layer.name,
        shape=list(layer.shape),
        stride=list(_strides(layer, entered)) if layer.spatial else None,
        activation=None if layer.activation is None else _norm(layer.activation) / copies**0.5,
        gradient=None if gradient is None else _norm(gradient),
        dead=None if dead is None else float(dead.double().mean()),
    )


def _detached(name: str, output: Tensor) -> InspectedLayer:
    return InspectedLayer(
        name=name,
        shape=list(output.shape),
        stride=None,
        activation=_norm(output),
        gradient=None,
        dead=None,
    )


def _idle(module: nn.Module, recorder: ActivationRecorder) -> list[str]:
    """List the eager layers that did not run; the layers of other formats are not known."""
    with foreign_code("the model's layers cannot be listed"):
        return [
            name
            for name, child in ([] if isinstance(module, BY_WEIGHT) else module.named_modules())
            if isinstance(getattr(child, "weight", None), nn.Parameter) and name not in recorder.ran
        ]


def _strides(layer: Layer, entered: Sequence[int]) -> Iterator[int | float]:
    """Yield the input pixels per place of the map along x, then along y."""
    assert layer.arrangement is not None
    _, height, width = layer.arrangement.grid
    for pixels, places in ((entered[3], width), (entered[2], height)):
        stride = Fraction(pixels, places)
        yield stride.numerator if stride.denominator == 1 else float(stride)


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


ZEROES: dict[str, Callable[[Any], Tensor]] = {
    "Relu": lambda node: node._saved_result == 0,
    "Hardtanh": lambda node: (node._saved_self <= 0) & (node._saved_min_val == 0),
    "Hardswish": lambda node: node._saved_self <= -3,
}
"""Activations whose output has zeros: bool, True where a unit is off. A `Hardtanh` whose lower
bound is 0 is a ReLU6; any other is never off."""


def dead_units(y: Tensor, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """Find the channels that are zero everywhere as they leave a layer or its activation.

    An activation is considered if it is a row of `ZEROES` and nothing else uses the layer.

    Args:
        y: the output, whose graph must still hold its saved tensors.
        layers: the layers, with their outputs.

    Returns:
        bool [C], of each layer whose output is a map, by name.
    """
    users = users_of(y)
    found = {}
    for layer in layers:
        if not layer.spatial or layer.activation is None:
            continue
        off = layer.activation == 0
        behind = users[layer.end.node]
        if len(behind) == 1 and kind_of(behind[0]) in ZEROES:
            after = ZEROES[kind_of(behind[0])](behind[0])
            if after.shape == layer.shape:
                off = off | after
        found[layer.name] = layer.as_maps(off).flatten(2).all(2).all(0)
    return found
