"""The command that writes what is on the screen."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from gradviz.commands.explore.question import Question
from gradviz.commands.explore.session import Session


def command_for(session: Session, question: Question, output: Sequence[str] = ()) -> str:
    """Write the command of the shell, or the call in Python, that answers a question.

    Args:
        session: the models, the images and their options.
        question: the question.
        output: options of the output, such as `-o FOLDER`.
    """
    given = {
        "seed": question.seed or None,
        "method": None if question.method == "gradient" else question.method,
        "layer": question.layer,
        "baseline": question.baseline,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    model, image = session.models[question.model].name, session.sources[question.image].path
    if session.options is None:
        words = ", ".join(f"{name}={value!r}" for name, value in chosen.items())
        return f"gradviz.saliency({model}, {str(image)!r}{words and f', {words}'})"
    options = [word for name, value in chosen.items() for word in (f"--{name}", value)]
    return shlex.join(
        ["gradviz", "saliency", model, str(image), *session.options, *options, *output]
    )
