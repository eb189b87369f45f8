"""The questions of the page, as the server accepts them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gradviz.heatmap.clip import CLIP

REACTS = re.compile(r"reacts:(\d{1,9}),(\d{1,9})", re.ASCII)
"""The dual question, beside the seeds."""

Word = Annotated[str, Field(max_length=200)]
"""A name that the page sends."""


WINNING: Literal["winning"] = "winning"
"""The choice of the channel that is largest at a pixel."""

Channel = Annotated[int, Field(ge=0)] | Literal["winning"] | None
"""A channel of a map, or at each pixel the one that wins; None, or one that there is not, for the
winning ones of many channels, else the first."""


class Asked(BaseModel):
    """Anything that the page asks: who asks, and about which model and image."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    client: Annotated[str, Field(min_length=1, max_length=64)]
    """The name that a tab drew at random."""
    number: Annotated[int, Field(ge=0, le=2**53)]
    """The number of the question, which rises for each client."""
    model: Annotated[int, Field(ge=0)] = 0
    """The place of the model, from 0."""
    image: Annotated[int, Field(ge=0)] = 0
    """The place of the image, from 0."""


class OutputAsked(Asked):
    """A request for what the model answers."""

    channel: Channel = None
    """The channel of a map that is shown."""


class Question(Asked):
    """A question about one place of the output, or of the input."""

    seed: Annotated[str, Field(max_length=4000)] = ""
    """A spec as `--seed` takes it, empty for the default of the output; or `reacts:X,Y`: how the
    output reacts to a pixel of the input."""
    method: Word = "gradient"
    layer: Word | None = None
    baseline: Word | None = None

    @property
    def reacts(self) -> tuple[int, int] | None:
        """The pixel of the input whose reaction is asked; None for a seed."""
        found = REACTS.fullmatch(self.seed)
        return None if found is None else (int(found[1]), int(found[2]))


class SaveAsked(Question):
    """A request to write the answer into a folder."""

    views: Annotated[list[Word], Field(max_length=20)] = ["heatmap", "overlay"]
    clip: float | Word = CLIP
    colormap: Word | None = None
    scale: float | None = None


class Client(BaseModel):
    """A request about what a client has asked."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    client: Annotated[str, Field(min_length=1, max_length=64)]
