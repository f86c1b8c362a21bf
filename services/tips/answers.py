"""Whether the answers to a category's questions can be taken. No refusal repeats what was sent."""

from collections.abc import Mapping
from typing import Any

from services.tips.body import EARLIEST_YEAR, LATEST_YEAR, Answer, day_of
from shared.municipality import Category, Question
from shared.web import Problem


def check_answers(sent: Mapping[str, Any], category: Category) -> dict[str, Answer]:
    """The answers, in the order of the questions; null is no answer. Raises Problem 422 with every fault."""
    questions = {question.id: question for question in category.questions}
    if sent.keys() - questions.keys():
        raise Problem(
            422,
            "unknown-question",
            "Not one of those that are possible",
            "Answer only the questions of the category: those in `allowed`.",
            errors=[("/answers", "an answer is to no question of this category")],
            allowed=list(questions),
        )
    answers = {one: sent[one] for one in questions if sent.get(one) is not None}
    faults = [(f"/answers/{one}", fault) for one in questions if (fault := _fault(questions[one], answers))]
    if faults:
        raise Problem(
            422, "wrong-answers", "Not as asked", "Mend the answers named in `errors`.", errors=faults
        )
    return answers


def texts(sent: Mapping[str, Any], category: Category) -> list[str]:
    """What was written in answer to questions for a text."""
    return [
        answer
        for question in category.questions
        if question.kind == "text" and isinstance(answer := sent.get(question.id), str)
    ]


def for_rules(answers: Mapping[str, Answer], read: frozenset[str]) -> dict[str, str | tuple[str, ...]]:
    """The answers to the choices that some rule reads, as an event carries them."""
    return {
        question: tuple(answer) if isinstance(answer, list) else str(answer)
        for question, answer in answers.items()
        if question in read
    }


def _fault(question: Question, answers: Mapping[str, Any]) -> str | None:
    """What is wrong with the answer and what to send, or None."""
    if question.id not in answers:
        return "answer this question" if question.required else None
    return {
        "text": _text_fault,
        "number": _number_fault,
        "date": _date_fault,
        "choice": _choice_fault,
        "choices": _choices_fault,
    }[question.kind](question, answers[question.id])


def _text_fault(question: Question, answer: Any) -> str | None:
    sound = (
        isinstance(answer, str)
        and answer.strip()
        and len(answer) <= question.characters
        and "\0" not in answer
    )
    return None if sound else f"write 1 to {question.characters} characters, not U+0000, or leave it out"


def _number_fault(question: Question, answer: Any) -> str | None:
    least, most = question.min or 0, question.max or 0
    sound = type(answer) in (int, float) and least <= answer <= most
    return None if sound else f"send a number from {least:.15g} to {most:.15g}"


def _date_fault(_question: Question, answer: Any) -> str | None:
    sound = isinstance(answer, str) and day_of(answer)
    return None if sound else f"send a day such as 2026-01-31, from {EARLIEST_YEAR} to {LATEST_YEAR}"


def _choice_fault(question: Question, answer: Any) -> str | None:
    sound = isinstance(answer, str) and answer in question.option_ids
    return None if sound else f"send one of {_options(question)}"


def _choices_fault(question: Question, answer: Any) -> str | None:
    sound = (
        isinstance(answer, list)
        and answer
        and all(isinstance(one, str) and one in question.option_ids for one in answer)
        and len(set(answer)) == len(answer)
    )
    return None if sound else f"send a list of one or more of {_options(question)}, each once"


def _options(question: Question) -> str:
    return ", ".join(option.id for option in question.options)
