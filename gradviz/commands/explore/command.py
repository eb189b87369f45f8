"""The command that writes what is on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from gradviz.commands.explore.question import Question
from gradviz.commands.explore.session import Session
from gradviz.runs.environment import command_text
from gradviz.seeds.seed import parse_seed

VARIABLES = ("model", "against")
"""The names of the models in a call in Python."""

IMAGE = "images"
"""The name of an image that the caller holds."""


def words_for(session: Session, question: Question, output: Sequence[str] = ()) -> list[str]:
    """List the words of the shell's command that answers a question; a call in Python is one word.

    Args:
        session: the models, the images and their options.
        question: the question.
        output: options of the output, such as `-o FOLDER`, which a call does not take.
    """
    given = [*session.options, *_rule_options(session, question)]
    if session.in_python:
        image = repr(str(session.sources[question.image].path)) if session.sources else IMAGE
        chosen = [f"{name}={value!r}" for name, value in _chosen(question).items()]
        arguments = (VARIABLES[question.model], image, *chosen, *given)
        return [f"gradviz.saliency({', '.join(arguments)})"]
    model = _no_option(session.models[question.model].name)
    image = _no_option(str(session.sources[question.image].path))
    chosen = [word for name, value in _chosen(question).items() for word in (f"--{name}", value)]
    return ["gradviz", "saliency", model, image, *given, *chosen, *output]


def command_for(session: Session, question: Question) -> str:
    """Write the command of the shell that answers a question, or the call in Python.

    Args:
        session: the models, the images and their options.
        question: the question.
    """
    return command_text(words_for(session, question))


def _no_option(path: str) -> str:
    """Write a path so that no command takes it for an option."""
    return f"./{path}" if path.startswith("-") else path


def _rule_options(session: Session, question: Question) -> Sequence[str]:
    """Return the options of detections, if the question is about some."""
    of_boxes = question.seed and parse_seed(question.seed, files=False).about_boxes
    return session.rule_options if of_boxes else ()


def _chosen(question: Question) -> dict[str, str]:
    """Return the options that are not the defaults."""
    given = {
        "seed": question.seed or None,
        "method": None if question.method == "gradient" else question.method,
        "layer": question.layer,
        "baseline": question.baseline,
    }
    return {name: value for name, value in given.items() if value is not None}
