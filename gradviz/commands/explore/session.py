"""The models and images that are explored, and the choices of the page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradviz.backward.integrated_gradients import BASELINES
from gradviz.backward.methods import METHODS
from gradviz.backward.sampling import POINTS
from gradviz.heatmap.clip import CLIP
from gradviz.heatmap.colours import NONFINITE, load_palette
from gradviz.heatmap.views import VIEWS
from gradviz.image.find import Source
from gradviz.image.load import LoadedImage
from gradviz.image.preprocess import Preprocess
from gradviz.model.model import Model
from gradviz.seeds.suppression import DEFAULT_RULE, Suppression

PALETTES = (None, "viridis", "magma", "cividis", "gray")
"""The colour maps that the page offers; None for the defaults."""

MOST_CLASSES = 100
"""The most classes that are listed for an image."""

FEW_CHANNELS = 4
"""The most channels of a map that are not taken for scores of classes, of which one wins."""


@dataclass(frozen=True)
class ExploredModel:
    """One model, and how it is called in commands."""

    name: str
    model: Model
    preprocess: Preprocess
    """The recipe of its images."""
    held: LoadedImage | None = None
    """The one image that the caller holds, as this model gets it; None for files."""
    optimize: bool = True
    """True if answers of many passes may come from a faster form of the model."""


@dataclass(frozen=True)
class Session:
    """The models and images of one server."""

    models: Sequence[ExploredModel]
    """One model, or two to compare."""
    sources: Sequence[Source]
    """The image files; none if the caller holds the image."""
    out: Path
    """The folder below which answers are saved."""
    options: Sequence[str] = ()
    """The options of the models and the images, as a shell takes them, or as arguments in
    Python."""
    rule: Suppression = DEFAULT_RULE
    """The rule by which detections are chosen."""
    rule_options: Sequence[str] = ()
    """The options that give this rule, as those above; only questions about detections take
    them."""
    in_python: bool = False
    """True if the page was opened from Python, so that commands are calls."""

    @property
    def images(self) -> list[str]:
        """The names of the images."""
        held = self.models[0].held
        return [source.name for source in self.sources] if held is None else [held.name]

    def describe(self) -> dict[str, object]:
        """Describe the session for the page, in JSON-ready values."""
        return {
            "models": [
                {
                    "name": each.name,
                    "labels": list(each.model.labels),
                    # Of two models, the copied commands write into two folders.
                    "out": shlex.quote(str(self.out / str(n))) if len(self.models) > 1 else None,
                }
                for n, each in enumerate(self.models, 1)
            ],
            "in_python": self.in_python,
            "images": [{"name": name} for name in self.images],
            "methods": [
                {
                    "name": method.name,
                    "meaning": method.meaning,
                    "takes": [
                        *(["layer"] if method.points == "image" else []),
                        *(["baseline"] if "baseline" in POINTS[method.points].options else []),
                    ],
                }
                for method in METHODS.values()
            ],
            "baselines": list(BASELINES),
            "views": {
                view.name: {"meaning": view.meaning, "signed": view.signed}
                for view in VIEWS.values()
                if not view.marked  # the page draws marks over every view
            },
            "nonfinite": NONFINITE,
            "palettes": [palette_of(name) for name in PALETTES],
            "clip": CLIP,
            "few_channels": FEW_CHANNELS,
        }


def palette_of(name: str | None) -> dict[str, str | None]:
    """Write the colour maps of a name as hexadecimal text, six digits a colour."""
    palette = load_palette(name)
    return {
        "name": name,
        "sequential": palette.sequential_table.tobytes().hex(),
        "diverging": palette.diverging_table.tobytes().hex(),
    }
