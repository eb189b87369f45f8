"""Networks by a library and a name, as in `--arch torchvision:resnet50`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from gradviz.model.libraries.library import SMP, TIMM, TORCHVISION, Library
from gradviz.model.libraries.smp import smp_factory, smp_names
from gradviz.model.libraries.timm import timm_factory, timm_names
from gradviz.model.libraries.torchvision import torchvision_factory, torchvision_names


@dataclass(frozen=True)
class Registry:
    """A library whose networks have names."""

    library: Library
    """The library."""
    factory: Callable[[str, str], Callable[..., object] | None]
    """The factory of a name; None if the library does not have the name."""
    names: Callable[[], Collection[str]]
    """All names, once the library is imported."""


REGISTRIES = {
    "torchvision": Registry(TORCHVISION, torchvision_factory, torchvision_names),
    "timm": Registry(TIMM, timm_factory, timm_names),
    "smp": Registry(SMP, smp_factory, smp_names),
}
"""The libraries by what stands before the colon."""


def library_of(place: str) -> Library | None:
    """Return the library that a module belongs to; None if it is no known one."""
    package = place.partition(".")[0]
    return next((r.library for r in REGISTRIES.values() if r.library.package == package), None)
