"""Mistakes in what residents are asked, in what stops them, and in rules that read answers."""

from pathlib import Path

from tests.unit.municipality.edits import C, E, Edit, Planted, R, remove, swap, write

LIGHT = "categories[0].questions"
OFF = '{ id = "off", names = { nl = "Uit", en = "Off" } }'
RULE = "rules[10].when"
READ = 'answers = { what = ["chemicals"] }'


def question(keys: str, name: str = "extra") -> Edit:
    """One more question for the first category, before its others."""
    names = 'names = { nl = "Vraag", en = "Question" }'
    added = f'[[categories.questions]]\nid = "{name}"\n{names}\n{keys}\n'
    return swap(C, "[[categories.questions]]\n", f"{added}[[categories.questions]]\n")


def many_questions(folder: Path) -> None:
    for number in range(8):
        question('kind = "date"', f"extra_{number}")(folder)


def emergency(text: str = "{number}", nl: str = '"er is brand"', en: str = "", more: str = "") -> Edit:
    """A short emergency.toml; `more` follows its phrases."""
    texts = f'[text]\nnl = "Bel {text}"\nen = "Call {{number}}"\n'
    return write(E, f'{texts}[phrases]\nnl = [{nl}]\n{en}en = ["fire"]\n{more}'.encode())


SENDING: dict[str, Planted] = {
    # questions
    "id of a question": Planted(
        swap(C, '"what_is_wrong"', '"What is wrong"'), C, f"{LIGHT}[0].id", "not written", "lower-case"
    ),
    "id of a question twice": Planted(
        swap(C, '"how_many"', '"what_is_wrong"'),
        C,
        f"{LIGHT}[1].id",
        "categories[0].questions[0]",
        "one of its own",
    ),
    "kind of a question": Planted(
        question('kind = "colour"'), C, f"{LIGHT}[0].kind", "'colour'", '"choices"'
    ),
    "question that is no table": Planted(
        swap(C, "danger = true", "danger = true\nquestions = [3]"),
        C,
        "categories[15].questions[0]",
        "no table",
        "a table with id",
    ),
    "question without a language": Planted(
        swap(C, ', en = "What is wrong with the light?"', ""), C, f"{LIGHT}[0].names.en", "missing", "add en"
    ),
    "option without a language": Planted(
        swap(C, ', en = "It is off"', ""), C, f"{LIGHT}[0].options[0].names.en", "missing", "add en"
    ),
    "required that is no flag": Planted(
        question('kind = "date"\nrequired = "yes"'), C, f"{LIGHT}[0].required", "'yes'", "true or false"
    ),
    "option twice": Planted(
        question(f'kind = "choice"\noptions = [{OFF}, {OFF}]'),
        C,
        f"{LIGHT}[0].options",
        "twice",
        "id of its own",
    ),
    "options of a date": Planted(
        question(f'kind = "date"\noptions = [{OFF}]'), C, f"{LIGHT}[0]", "has no options", "leave options out"
    ),
    "nothing to choose from": Planted(
        question(f'kind = "choices"\noptions = [{OFF}]'),
        C,
        f"{LIGHT}[0]",
        "nothing to choose",
        "at least two",
    ),
    "too many options": Planted(
        question(f'kind = "choice"\noptions = [{", ".join([OFF] * 31)}]'),
        C,
        f"{LIGHT}[0].options",
        "too many",
        "2 to 30",
    ),
    "number without limits": Planted(
        question('kind = "number"\nmin = 1'), C, f"{LIGHT}[0]", "needs its limits", "min and max"
    ),
    "number that no number fits": Planted(
        question('kind = "number"\nmin = 2\nmax = 1'), C, f"{LIGHT}[0]", "needs its limits", "not above max"
    ),
    "endless number": Planted(
        question('kind = "number"\nmin = 2\nmax = inf'), C, f"{LIGHT}[0].max", "finite", "such as 10"
    ),
    "limits of a text": Planted(
        question('kind = "text"\nmin = 2'), C, f"{LIGHT}[0]", "has no min", "leave min out"
    ),
    "text too long": Planted(
        question('kind = "text"\nmax_characters = 1001'),
        C,
        f"{LIGHT}[0].max_characters",
        "too large",
        "1 to 1000",
    ),
    "text without room": Planted(
        question('kind = "text"\nmax_characters = 0'),
        C,
        f"{LIGHT}[0].max_characters",
        "too small",
        "1 to 1000",
    ),
    "too many questions": Planted(many_questions, C, LIGHT, "too many", "at most 10 questions"),
    # contact and danger
    "contact of a tip": Planted(
        swap(C, 'id = "fraud"\nkind = "tip"', 'id = "fraud"\nkind = "tip"\ncontact = true'),
        C,
        "categories[14].contact",
        "anonymous",
        "contact = false",
    ),
    "danger that is no flag": Planted(
        swap(C, "danger = true", "danger = 1"),
        C,
        "categories[15].danger",
        "neither true nor false",
        "true or false",
    ),
    # the emergency stop
    "emergency file missing": Planted(remove(E), E, "(whole file)", "missing", "add it"),
    "text without the number": Planted(
        emergency("112"), E, "text", "{number}", "where the emergency number stands"
    ),
    "emergency text's language missing": Planted(
        swap(E, '\nen = "Is there', '\n# "'), E, "text.en", "missing", "add en"
    ),
    "no phrases of a language": Planted(emergency(en="# "), E, "phrases.en", "missing", "add en"),
    "phrases of an unknown language": Planted(
        emergency(more='fr = ["au feu"]\n'), E, "phrases.fr", '"fr"', "nl, en"
    ),
    "harmless of an unknown language": Planted(
        emergency(more='[harmless]\nfr = ["bouche"]\n'), E, "harmless.fr", '"fr"', "nl, en"
    ),
    "empty list of phrases": Planted(emergency(nl=""), E, "phrases.nl", "empty", "a list of phrases"),
    "phrase that is no text": Planted(
        emergency(nl="112"), E, "phrases.nl[0]", "no text", "a list of phrases"
    ),
    "phrase without a word": Planted(
        emergency(nl='"er is brand", "!?"'), E, "phrases.nl[1]", "no word", "a person in danger"
    ),
    "phrase twice": Planted(
        emergency(nl='"er is brand", "Er is  BRAND!"'), E, "phrases.nl", "'er is brand'", "once"
    ),
    "phrases that are no table": Planted(
        write(E, b'phrases = 3\n[text]\nnl = "{number}"\nen = "{number}"\n'),
        E,
        "phrases",
        "no table",
        "a list of phrases per language",
    ),
    # rules that read answers
    "answers of no category": Planted(
        swap(R, 'category = ["bulky_waste"]\n', ""),
        R,
        f"{RULE}.answers",
        "of which categories",
        "add category",
    ),
    "unknown question": Planted(
        swap(R, READ, 'answers = { wat = ["chemicals"] }'),
        R,
        f"{RULE}.answers.wat",
        'choice question of the category bulky_waste "wat"',
        '"what"?',
    ),
    "question that one of the categories has not": Planted(
        swap(R, '["bulky_waste"]', '["bulky_waste", "graffiti"]'),
        R,
        f"{RULE}.answers.what",
        "of the category graffiti",
        "insults",
    ),
    "question that is no choice": Planted(
        swap(
            R,
            f'category = ["bulky_waste"]\n{READ}',
            'category = ["street_light"]\nanswers = { how_many = ["off"] }',
        ),
        R,
        f"{RULE}.answers.how_many",
        '"how_many"',
        "what_is_wrong",
    ),
    "unknown option": Planted(
        swap(R, READ, 'answers = { what = ["bags", "chemical"] }'),
        R,
        f"{RULE}.answers.what[1]",
        'option "chemical"',
        '"chemicals"?',
    ),
    "answer condition that nothing fits": Planted(
        swap(R, READ, "answers = { what = [] }"), R, f"{RULE}.answers.what", "empty", "lists of options"
    ),
    "option twice in a rule": Planted(
        swap(R, READ, 'answers = { what = ["bags", "bags"] }'), R, f"{RULE}.answers.what", "twice", "once"
    ),
}
