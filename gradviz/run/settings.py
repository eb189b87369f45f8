"""How the pictures and arrays of a run are to be made, apart from the model and the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gradviz.errors import UsageError
from gradviz.heatmap.views import CLIP

Scale = Literal["image", "shared"] | float


@dataclass(frozen=True)
class Settings:
    """The choices of a `saliency` run, as its run.json records them.

    Raises:
        UsageError: they contradict each other.
    """

    seeds: tuple[str, ...] = ()
    """Specs; empty for the default of the model's output."""
    method: str = "gradient"
    views: tuple[str, ...] = ("heatmap", "overlay")
    array: Literal["npy", "none"] = "npy"
    colormap: str | None = None
    """A name of the cmap catalogue; None for the defaults."""
    clip: float = CLIP
    """The percentile that gets the strongest colour, in (0, 100]."""
    scale: Scale = "image"
    """`image`: each picture its own; `shared`: one for all images of a seed; or the number."""
    frame: Literal["input", "image"] = "input"
    """Whose pixels pictures are drawn in: the input tensor's or the image file's."""
    batch_size: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.clip <= 100:
            raise UsageError(f"--clip {self.clip:g}: a percentile is above 0 and at most 100")
        if isinstance(self.scale, float) and not 0 < self.scale < float("inf"):
            raise UsageError(f"--scale {self.scale:g}: give image, shared or a number above 0")
        if self.scale == "shared" and self.array == "none":
            raise UsageError("--scale shared draws from the arrays; leave out --array none")
