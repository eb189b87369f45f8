"""Recipes by name: gradviz's own, and those of libraries."""

from __future__ import annotations

from collections.abc import Callable

from gradviz.errors import UsageError
from gradviz.image.preprocess import RECIPES, Preprocess
from gradviz.model.libraries.presets import timm_recipe, torchvision_recipe
from gradviz.text import one_line

LIBRARIES: dict[str, Callable[[str], Preprocess]] = {
    "torchvision": torchvision_recipe,
    "timm": timm_recipe,
}
"""The libraries whose recipes have names, and the function that looks one up."""


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
            return LIBRARIES[library](name)
    known = ", ".join([*RECIPES, "torchvision:WEIGHTS", "timm:NAME"])
    raise UsageError(
        one_line(f"preprocess: expected a gradviz.Preprocess or one of {known}, got {recipe!r}")
    )
