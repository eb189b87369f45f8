"""The table of methods: the ways from gradients to a heatmap's numbers.

A method is a name for a combination of independent choices: the points at which the gradient is
taken (`sampling.py`), the rule of the pass (`rules.py`), the place where the gradient is read,
input or layer (`layers.py`), and the function that makes the result of it. Any seed can be combined
with any method. To add one, write a row of `METHODS`.

Sources:
    gradient: Simonyan, Vedaldi and Zisserman 2013, arXiv:1312.6034
    input-x-gradient: Shrikumar, Greenside, Shcherbina and Kundaje 2016, arXiv:1605.01713
    smoothgrad: Smilkov, Thorat, Kim, Viégas and Wattenberg 2017, arXiv:1706.03825
    vargrad: Adebayo, Gilmer, Goodfellow and Kim 2018, arXiv:1810.03307
    integrated-gradients: Sundararajan, Taly and Yan 2017, arXiv:1703.01365
    guided: Springenberg, Dosovitskiy, Brox and Riedmiller 2014, arXiv:1412.6806
    deconvnet: Zeiler and Fergus 2013, arXiv:1311.2901
    gradcam, guided-gradcam: Selvaraju et al. 2017, arXiv:1610.02391
    gradcam++: Chattopadhyay, Sarkar, Howlader and Balasubramanian 2017, arXiv:1710.11063
    hirescam: Draelos and Carin 2020, arXiv:2011.08891
    layercam: Jiang, Zhang, Hou, Cheng and Wei 2021, doi:10.1109/TIP.2021.3089943
    lrp: Kohlbrenner et al. 2020, arXiv:1910.09840; for attention Achtibat et al. 2024,
        arXiv:2402.05602
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Pass:
    """One backward pass that a method needs."""

    rule: str = "plain"
    """The rule of the pass: a name of `gradviz.backward.rules.BACKWARD_RULES`."""
    read_at: Literal["input", "layer"] = "input"
    """The place where the gradient is read."""


@dataclass(frozen=True)
class Read:
    """The result of one backward pass, at the place where it is read."""

    value: Tensor
    """The input or the layer's activation, [N, ...]."""
    gradient: Tensor
    """The gradient at that place, or its relevance, of the same shape."""


@dataclass(frozen=True)
class Method:
    """One row of the table of methods."""

    name: str
    meaning: str
    writes: str
    """The name of its array, and so of its file: `gradient` or `attribution`."""
    blank: str
    """The meaning of an array that is zero everywhere."""
    finish: Callable[..., Tensor]
    """`(one Read for each of passes) -> the array [N, ...]`."""
    passes: tuple[Pass, ...] = (Pass(),)
    points: str = "image"
    """The choice of inputs at which the gradient is taken: a name of `sampling.POINTS`."""
    unit: str = "{score}"
    """The unit of its numbers, where `{score}` stands for that of the score, and `{at}` for that of
    the input or the activation."""

    def unit_at(self, layer: str | None, score: str) -> str:
        """Return the unit of its numbers.

        Args:
            layer: the layer at which they are read; None for the input.
            score: the unit of the score.
        """
        return self.unit.format(at="input" if layer is None else "activation", score=score)

    def passes_at(self, layer: str | None) -> tuple[Pass, ...]:
        """Return the passes, read at the layer that the user names; None for no layer."""
        if layer is None or self.needs_layer:
            return self.passes
        return tuple(Pass(each.rule, "layer") for each in self.passes)

    @property
    def needs_layer(self) -> bool:
        """True if it reads a layer that is a map even if the user names none."""
        return any(each.read_at == "layer" for each in self.passes)


def _gradient(read: Read) -> Tensor:
    return read.gradient


def _product(read: Read) -> Tensor:
    return read.value.detach() * read.gradient


def _cam(layer: Read) -> Tensor:
    """Weight the layer's channels by their mean gradients; [N, 1, h, w], negative sums become 0."""
    weights = layer.gradient.mean((2, 3), keepdim=True)
    return (weights * layer.value).sum(1, keepdim=True).clamp(min=0)


def _layer_cam(layer: Read) -> Tensor:
    """Weight each place of each channel by its own gradient, where that is positive."""
    return (layer.gradient.clamp(min=0) * layer.value).sum(1, keepdim=True).clamp(min=0)


def _high_resolution_cam(layer: Read) -> Tensor:
    """Weight each place of each channel by its own gradient."""
    return (layer.gradient * layer.value).sum(1, keepdim=True).clamp(min=0)


def _cam_plus_plus(layer: Read) -> Tensor:
    """Weight the layer's channels by their positive gradients, each of which has a weight itself.

    These weights are equation 19 of the paper, for the exponential of the score: its second and
    third derivatives are powers of the gradient, times the exponential itself, which cancels out.
    """
    gradient, value = layer.gradient, layer.value
    below = 2 * gradient**2 + value.sum((2, 3), keepdim=True) * gradient**3
    shares = (gradient**2 / below).where(below != 0, 0)
    weights = (shares * gradient.clamp(min=0)).sum((2, 3), keepdim=True)
    return (weights * value).sum(1, keepdim=True).clamp(min=0)


def _guided_cam(guided: Read, layer: Read) -> Tensor:
    from torch.nn.functional import interpolate

    cam = interpolate(_cam(layer), guided.gradient.shape[2:], mode="bilinear")
    return guided.gradient * cam


_NO_EVIDENCE = "nowhere do the layer's weighted channels add up to more than 0"
_STILL = "the seeded output does not react to small changes of this image"

SCORE_UNIT = "score"
"""The unit of a score whose unit is not known."""

SLOPE = "{score} / {at}"
"""The unit of a gradient."""

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "gradient",
            "x.grad itself: how the seeded output would change (Simonyan et al. 2013)",
            "gradient",
            _STILL,
            _gradient,
            unit=SLOPE,
        ),
        Method(
            "input-x-gradient",
            "input times gradient, a first-order share of the output (Shrikumar et al. 2016)",
            "attribution",
            f"{_STILL}, or only where its values are 0",
            _product,
        ),
        Method(
            "smoothgrad",
            "the mean gradient over noisy copies of the image (Smilkov et al. 2017)",
            "attribution",
            "the seeded output does not react to small changes of any noisy copy, or the gradients "
            "cancel",
            _gradient,
            points="noise",
            unit=SLOPE,
        ),
        Method(
            "vargrad",
            "the variance of the gradient over noisy copies (Adebayo et al. 2018)",
            "attribution",
            "the gradient is the same at all noisy copies",
            _gradient,
            points="spread",
            unit=f"({SLOPE})²",
        ),
        Method(
            "integrated-gradients",
            "the gradient integrated from a baseline to the image, times the way: shares that add "
            "up to the output's change (Sundararajan et al. 2017)",
            "attribution",
            "the image equals the baseline, or the seeded output does not react on the way from it",
            _gradient,
            points="path",
        ),
        Method(
            "guided",
            "negative gradients cut before each activation (Springenberg et al. 2014)",
            "gradient",
            "no positive gradient passes the activations",
            _gradient,
            (Pass("guided"),),
            unit=SLOPE,
        ),
        Method(
            "deconvnet",
            "negative gradients cut instead of each activation's derivative (Zeiler and Fergus "
            "2013)",
            "gradient",
            "no positive gradient passes the activations",
            _gradient,
            (Pass("deconvnet"),),
            unit=SLOPE,
        ),
        Method(
            "gradcam",
            "a layer's channels weighted by their mean gradients, where positive (Selvaraju et al. "
            "2017)",
            "attribution",
            _NO_EVIDENCE,
            _cam,
            (Pass(read_at="layer"),),
        ),
        Method(
            "gradcam++",
            "a layer's channels weighted by their positive gradients, so that each of several "
            "objects counts (Chattopadhyay et al. 2017)",
            "attribution",
            _NO_EVIDENCE,
            _cam_plus_plus,
            (Pass(read_at="layer"),),
        ),
        Method(
            "hirescam",
            "a layer's channels weighted place by place by their gradients (Draelos and Carin "
            "2020)",
            "attribution",
            _NO_EVIDENCE,
            _high_resolution_cam,
            (Pass(read_at="layer"),),
        ),
        Method(
            "layercam",
            "a layer's channels weighted place by place by their positive gradients (Jiang et al. "
            "2021)",
            "attribution",
            _NO_EVIDENCE,
            _layer_cam,
            (Pass(read_at="layer"),),
        ),
        Method(
            "guided-gradcam",
            "guided times Grad-CAM, enlarged to the input (Selvaraju et al. 2017)",
            "attribution",
            "nowhere do a positive Grad-CAM and a guided gradient meet",
            _guided_cam,
            (Pass("guided"), Pass(read_at="layer")),
            unit="{score}² / input",
        ),
        Method(
            "lrp",
            "relevance handed back from layer to layer: shares that add up to the score, but for "
            "what biases and others absorb (Kohlbrenner et al. 2020)",
            "attribution",
            "the seeded score is 0, or all of it was absorbed on the way",
            _gradient,
            (Pass("lrp"),),
        ),
    )
}
"""Every method, by name, in the order of the documentation."""
