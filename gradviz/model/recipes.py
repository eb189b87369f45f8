"""Recipes by name: gradviz's own, and those of libraries."""

from __future__ import annotations

from collections.abc import Callable

from gradviz.errors import UsageError
from gradviz.image.preprocess import RECIPES, Preprocess
from gradviz.model.libraries.named_classes import timm_labels, torchvision_labels
from gradviz.model.libraries.presets import timm_recipe, torchvision_recipe
from gradviz.text import one_line

LIBRARIES: dict[str, tuple[Callable[[str], Preprocess], Callable[[str], list[str]]]] = {
    "torchvision": (torchvision_recipe, torchvision_labels),
    "timm": (timm_recipe, timm_labels),
}
"""The libraries whose recipes have names, and the functions that look up a recipe and the names of
classes."""


def recipe_named(recipe: Preprocess | str) -> Preprocess:
    """A recipe, which may be given by its name.

    Args:
        recipe: a recipe, or `imagenet`, `none`, `torchvision:WEIGHTS` or `timm:NAME`.

    Raises:
        UsageError: it is neither a recipe nor the name of one.
        ModelError: the library is missing.
    """
    if isinstance(recipe, Preprocess):
        return recipe
    if isinstance(recipe, str):
        if recipe in RECIPES:
            return RECIPES[recipe]
        library, colon, name = recipe.partition(":")
        if colon and library in LIBRARIES:
            return LIBRARIES[library][0](name)
    known = ", ".join([*RECIPES, "torchvision:WEIGHTS", "timm:NAME"])
    raise UsageError(
        one_line(f"preprocess: expected a gradviz.Preprocess or one of {known}, got {recipe!r}")
    )


def labels_with(recipe: str) -> tuple[str, ...]:
    """List the names of the classes of the weights whose recipe has this name.

    Args:
        recipe: the name of a recipe, which exists.

    Returns:
        the names in order; empty if the library has none.
    """
    library, _, name = recipe.partition(":")
    return tuple(LIBRARIES[library][1](name)) if library in LIBRARIES else ()
