"""Which answer goes to which question. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.model.execution import ExecutionError
from batchyard.model.questions import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchyard.model.questions import Question, ScriptedAnswer
    from batchyard.model.trial import JSON


def addressed(execution: str, questions: Sequence[Question], answers: Sequence[Answer]) -> Mapping[str, JSON]:
    """Return the answers by the ids of the questions they are for; "" is what the workflow asks first, if nothing yet.

    Raises ``ExecutionError`` for an answer to nothing that is asked, to one of several without saying to which, and
    for two to one question.
    """
    asked = {question.id: question for question in questions}
    given: dict[str, JSON] = {}
    for answer in answers:
        if not answer.question and len(asked) > 1:
            several = ", ".join(f'{question.id} (node "{question.node}")' for question in asked.values())
            raise ExecutionError(f"execution {execution} asks several questions: {several}; say which is answered")
        id_ = answer.question or next(iter(asked), "")
        if id_ and id_ not in asked:
            raise ExecutionError(
                f"execution {execution} asks no question {id_}; it asks {', '.join(asked) or 'nothing'}"
            )
        if id_ in given:
            raise ExecutionError(
                f"execution {execution}: question {id_ or 'to come'} is answered twice; answer it once"
            )
        given[id_] = answer.value
    return given


def scripted(
    questions: Sequence[Question], script: Sequence[ScriptedAnswer]
) -> tuple[tuple[Answer, ...], tuple[ScriptedAnswer, ...]]:
    """Return the script's answers to these questions, and what of the script is left.

    Each question, in the order they were asked, takes the first answer that fits it; an answer is given once.
    """
    given: list[Answer] = []
    left = list(script)
    for question in questions:
        fitting = next((answer for answer in left if _fits(answer, question)), None)
        if fitting is not None:
            left.remove(fitting)
            given.append(Answer(fitting.value, question.id))
    return tuple(given), tuple(left)


def unanswered(questions: Sequence[Question], text: str, scripted: int, left: int) -> str:
    """Say what a run waits for although its case has answers; ``text`` is all that it asked."""
    nodes = ", ".join(dict.fromkeys(f'"{question.node}"' for question in questions))
    used = f"{scripted - left} of the case's {scripted} answers used"
    return f"{f'node {nodes} asks: ' if nodes else ''}{text} ({used}{', none of the others fits' if left else ''})"


def _fits(answer: ScriptedAnswer, question: Question) -> bool:
    return answer.node in ("", question.node) and answer.question in question.text
