"""The support matrix: the capabilities of each format, and the reasons for what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gradviz.errors import UsageError


class Format(Enum):
    """A way to keep a model's weights and its code."""

    STATE_DICT = "weights with an architecture"
    """A checkpoint or safetensors file and `--arch`; also an nn.Module from Python."""
    PICKLED = "pickled module"
    """A whole nn.Module, written by torch.save."""
    SCRIPT = "TorchScript"
    """A scripted or traced module whose weights are still parameters."""
    FROZEN = "frozen TorchScript"
    """A frozen module without parameters: its weights are constants of the code."""
    EXPORTED = "exported program"
    """A `.pt2` file of torch.export."""


class Capability(Enum):
    """A capability that a user may need; the value is its name in messages and the docs."""

    WITHOUT_TRUST = "loading without --trust"
    GRADIENT = "gradient"
    SEEDS = "several seeds from one pass"
    ANY_BATCH = "any batch size"
    ANY_SIZE = "any input size"
    FLOAT64 = "float64"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FAST = "optimisation"
    FIELD = "receptive field"
    REACTION = "reaction to a pixel"
    RULES = "guided and deconvnet"
    RELEVANCE = "lrp"
    TAPS = "activation and gradient of layers"
    LAYERS = "layers by their names"
    BLOCKS = "outputs of blocks"
    ACTIVATIONS = "activations of layers"


@dataclass(frozen=True)
class Support:
    """One cell of the matrix."""

    supported: bool
    reason: str = ""
    """The reason of a refusal, and the alternative; empty if it is supported."""


_CONSTANTS = "its weights are float32 constants: save the model before torch.jit.freeze"
_FIXED = "its shapes are those of the export, but for axes that dynamic_shapes left open"

_WRITTEN_OUT = "its operations are written out for one layout in memory, with no layers to fold"

_BLOCKS = (
    "a layer is known by its weight, and a block has none of its own: name its last operation, "
    "such as relu_3"
)

_REFUSED: dict[tuple[Format, Capability], str] = {
    (Format.PICKLED, Capability.WITHOUT_TRUST): "unpickling a module runs code that the file names",
    (Format.EXPORTED, Capability.WITHOUT_TRUST): "torch.export.load unpickles parts of the file",
    (Format.FROZEN, Capability.FLOAT64): _CONSTANTS,
    (Format.FROZEN, Capability.BFLOAT16): _CONSTANTS,
    (Format.FROZEN, Capability.FLOAT16): _CONSTANTS,
    (Format.FROZEN, Capability.LAYERS): "its layers are numbered as they run: conv_0, linear_0, …",
    (Format.SCRIPT, Capability.BLOCKS): _BLOCKS,
    (Format.FROZEN, Capability.BLOCKS): _BLOCKS,
    (Format.EXPORTED, Capability.BLOCKS): _BLOCKS,
    (Format.EXPORTED, Capability.FAST): _WRITTEN_OUT,
    (Format.EXPORTED, Capability.ANY_BATCH): _FIXED,
    (Format.EXPORTED, Capability.ANY_SIZE): _FIXED,
}
"""All refusals; the other cells are supported."""


def support(format: Format, capability: Capability) -> Support:
    """Look up if models of `format` have `capability`, and the reason if they do not."""
    reason = _REFUSED.get((format, capability), "")
    return Support(not reason, reason)


def refuse(format: Format, capability: Capability, where: str) -> None:
    """Check that models of `format` have `capability`.

    Args:
        format: the format of the model.
        capability: the capability that is needed.
        where: the beginning of the message, such as the model's path.

    Raises:
        UsageError: they do not; the message has the matrix's reason.
    """
    cell = support(format, capability)
    if not cell.supported:
        raise UsageError(f"{where}: a {format.value} has no {capability.value}: {cell.reason}")


def as_markdown() -> str:
    """Write the matrix as a Markdown table, one row per format, the reasons as numbered notes."""
    reasons = list(dict.fromkeys(_REFUSED.values()))
    lines = [
        "| format | " + " | ".join(capability.value for capability in Capability) + " |",
        "|---|" + "---|" * len(Capability),
    ]
    for format in Format:
        cells = (support(format, capability) for capability in Capability)
        marks = ("yes" if c.supported else f"no ({reasons.index(c.reason) + 1})" for c in cells)
        lines.append(f"| {format.value} | " + " | ".join(marks) + " |")
    lines.append("")
    lines += (f"{number}. {reason}" for number, reason in enumerate(reasons, 1))
    return "\n".join(lines) + "\n"
