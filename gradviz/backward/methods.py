"""How gradients become a heatmap's numbers: the table of methods.

A method is a name for a combination of independent choices: at which points the gradient is taken
(`points.py`), by which rule the pass goes through activations (`gates.py`), where it is read (the
input, or a layer: `taps.py`), and what is made of it at the end. Any seed goes with any method. To
add one, write a row of `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Pass:
    """One backward pass that a method asks for."""

    rule: str = "plain"
    """What happens at activations: `plain`, or a name of `gates.GATES`."""
    tap: Literal["input", "layer"] = "input"
    """Where it is read."""


@dataclass(frozen=True)
class Read:
    """What one backward pass found at its tap."""

    value: Tensor
    """[N, ...]: the input, or the layer's activation."""
    gradient: Tensor
    """Of the same shape."""


@dataclass(frozen=True)
class Method:
    """One row of the table of methods."""

    name: str
    meaning: str
    writes: str
    """What its array is, and so its file's name: `gradient` or `attribution`."""
    blank: str
    """What it means where its array is zero everywhere."""
    finish: Callable[..., Tensor]
    """`(one Read for each of passes) -> the array [N, ...]`."""
    passes: tuple[Pass, ...] = (Pass(),)
    points: str = "image"
    """At which inputs: a name of `points.POINTS`."""

    def passes_at(self, layer: str | None) -> tuple[Pass, ...]:
        """The passes where the user names a layer: that is where the gradient is then read."""
        if layer is None or self.needs_layer:
            return self.passes
        return tuple(Pass(each.rule, "layer") for each in self.passes)

    @property
    def needs_layer(self) -> bool:
        """Whether it looks at a layer even where the user names none: one that is a map."""
        return any(each.tap == "layer" for each in self.passes)


def _gradient(read: Read) -> Tensor:
    return read.gradient


def _product(read: Read) -> Tensor:
    return read.value.detach() * read.gradient


def _cam(layer: Read) -> Tensor:
    """[N, 1, h, w]: the layer's channels, weighted by their mean gradients, where positive."""
    weights = layer.gradient.mean((2, 3), keepdim=True)
    return (weights * layer.value).sum(1, keepdim=True).clamp(min=0)


def _guided_cam(guided: Read, layer: Read) -> Tensor:
    from torch.nn.functional import interpolate

    cam = interpolate(_cam(layer), guided.gradient.shape[2:], mode="bilinear")
    return guided.gradient * cam


_STILL = "the seeded output does not react to small changes of this image"

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "gradient",
            "x.grad itself: how the seeded output would change (Simonyan et al. 2013)",
            "gradient",
            _STILL,
            _gradient,
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
        ),
        Method(
            "vargrad",
            "the variance of the gradient over noisy copies (Adebayo et al. 2018)",
            "attribution",
            "the gradient is the same at all noisy copies",
            _gradient,
            points="spread",
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
        ),
        Method(
            "deconvnet",
            "negative gradients cut instead of each activation's derivative (Zeiler and Fergus "
            "2013)",
            "gradient",
            "no positive gradient passes the activations",
            _gradient,
            (Pass("deconvnet"),),
        ),
        Method(
            "gradcam",
            "a layer's channels weighted by their mean gradients, where positive (Selvaraju et al. "
            "2017)",
            "attribution",
            "nowhere do the layer's weighted channels add up to more than 0",
            _cam,
            (Pass(tap="layer"),),
        ),
        Method(
            "guided-gradcam",
            "guided times Grad-CAM, enlarged to the input (Selvaraju et al. 2017)",
            "attribution",
            "nowhere do a positive Grad-CAM and a guided gradient meet",
            _guided_cam,
            (Pass("guided"), Pass(tap="layer")),
        ),
    )
}
"""Every method, by name, in the order of the documentation."""
