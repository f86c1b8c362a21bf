"""The catalogue of what residents read about their report, by code and language. Level B1: short sentences,
common words. `{unit}`, `{other}` (the unit that had it before) and `{day}` are filled in."""

from collections.abc import Mapping

from shared.events import NAMED_BY_UNIT, UNIT_LEFT

Texts = Mapping[str, str]
# A language that has no text here is answered in the municipality's default, and that failing in this one.
LAST_RESORT = "en"


def chosen(catalogue: Texts, *wanted: str) -> str:
    """The first of the languages that has a text here, or the last resort."""
    return next(one for one in (*wanted, LAST_RESORT) if one in catalogue)


DANGER: Texts = {"nl": "Is er nu gevaar?", "en": "Danger now?"}
NO_DANGER: Texts = {
    "nl": "stuur true als er nu geen gevaar is: dan nemen wij het aan",
    "en": "send true where there is no danger now: then it is taken",
}

STATUSES: Mapping[str, Texts] = {
    "accepted": {
        "nl": "Wij hebben uw melding. Wij zoeken nu uit wie die oppakt.",
        "en": "We have your report. We are finding out who will deal with it.",
    },
    "routed": {
        "nl": "Uw melding gaat naar {unit}.",
        "en": "Your report goes to {unit}.",
    },
    "reopened": {
        "nl": "U hebt gezegd dat het niet is opgelost. {unit} kijkt er opnieuw naar.",
        "en": "You said that it is not solved. {unit} looks at it again.",
    },
    "delivered": {
        "nl": "{unit} heeft uw melding ontvangen.",
        "en": "{unit} has received your report.",
    },
    "acknowledged": {
        "nl": "{unit} heeft uw melding gelezen en gaat ermee aan de slag.",
        "en": "{unit} has read your report and is working on it.",
    },
    "planned": {
        "nl": "{unit} gaat dit doen op {day}.",
        "en": "{unit} will do this on {day}.",
    },
    "resolved": {
        "nl": "{unit} is klaar. Is het niet opgelost? Laat het ons weten.",
        "en": "{unit} has finished. Is it not solved? Let us know.",
    },
    "refused": {
        "nl": "{unit} kan dit niet voor u doen.",
        "en": "{unit} cannot do this for you.",
    },
    "withdrawn": {
        "nl": "U hebt uw melding ingetrokken. Wij doen er niets meer mee.",
        "en": "You took your report back. We do nothing more with it.",
    },
    "erased": {
        "nl": "Wat u schreef is gewist.",
        "en": "What you wrote is erased.",
    },
}

# After the resident's answer, for which the time stood still.
NEW_TIME: Texts = {
    "nl": "Uw antwoord is binnen. {unit} lost dit nu op voor {day}.",
    "en": "Your answer is in. {unit} will now solve this before {day}.",
}

# Why it was erased, in place of the general text.
ERASED: Mapping[str, Texts] = {
    "resident": {
        "nl": "U hebt uw melding gewist.",
        "en": "You erased your report.",
    },
    "retention": {
        "nl": "Wij bewaren een melding niet langer dan nodig. Daarom is die gewist.",
        "en": "We keep a report no longer than needed. That is why it is erased.",
    },
    "spam": {
        "nl": "Wij zagen deze melding als spam of misbruik. Daarom is die gewist. Klopt dat niet? Stuur dan"
        " een nieuwe melding.",
        "en": "We took this report for spam or abuse. That is why it is erased. Is that wrong? Then send a"
        " new report.",
    },
    "lost": {
        "nl": "Door een storing zijn wij kwijt wat u schreef. Stuur alstublieft een nieuwe melding.",
        "en": "Because of a fault we lost what you wrote. Please send a new report.",
    },
}
# What is said after either: what there still is.
NOWHERE: Texts = {"nl": "Niemand kan het terughalen.", "en": "Nobody can get it back."}
IN_BACKUPS: Texts = {
    "nl": "In een reservekopie staat het misschien nog. Na {day} kan niemand die kopie meer lezen.",
    "en": "A backup may still have it. After {day} nobody can read that backup any more.",
}
# What is said while a report that was taken for spam waits: its sender can say that it is none.
SPAM: Texts = {
    "nl": "Wij zagen deze melding als spam of misbruik. Na {day} wissen wij die. Klopt dat niet? Stuur ons"
    " dan hier een bericht, uiterlijk op die dag. Dan wissen wij die niet.",
    "en": "We took this report for spam or abuse. After {day} we erase it. Is that wrong? Then send us a"
    " message here, on that day at the latest. Then we do not erase it.",
}
# What is said instead while a hold keeps what is to be erased: because the resident asked, or for another
# reason. A backup that is restored may not know of it: the resident can see whether it was done.
HELD_TITLE: Texts = {"nl": "Wissen kan nu nog niet", "en": "It cannot be erased yet"}
HELD: Mapping[str, Texts] = {
    "resident": {
        "nl": "U hebt gevraagd om uw melding te wissen. De wet vraagt ons om die te bewaren tot en met {day}."
        " Niemand leest uw melding nog. Na die dag wissen wij uw melding. Kijk dan of hier staat dat het"
        " gebeurd is.",
        "en": "You asked us to erase your report. The law asks us to keep it until the end of {day}. Nobody"
        " reads your report any more. After that day we erase it. Look then whether it says here that it is"
        " done.",
    },
    "other": {
        "nl": "Wij wissen uw melding. De wet vraagt ons om die te bewaren tot en met {day}. Niemand leest uw"
        " melding nog. Na die dag wissen wij die. Kijk dan of hier staat dat het gebeurd is.",
        "en": "We will erase your report. The law asks us to keep it until the end of {day}. Nobody reads"
        " your report any more. After that day we erase it. Look then whether it says here that it is done.",
    },
}

# What a step of the timeline says, where that is not what the status of the same name says.
STEPS: Mapping[str, Texts] = {
    "accepted": {"nl": "Wij hebben uw melding ontvangen.", "en": "We received your report."},
    "routed": {"nl": "Uw melding ging naar {unit}.", "en": "Your report went to {unit}."},
    "delivery_failed": {
        "nl": "Het lukte niet om uw melding af te leveren bij {unit}. Een medewerker kijkt ernaar.",
        "en": "We could not deliver your report to {unit}. Somebody here is looking into it.",
    },
    "escalated": {
        "nl": "{unit} was te laat. De leiding weet het nu.",
        "en": "{unit} was late. Their manager knows now.",
    },
    "acknowledged": {"nl": "{unit} heeft uw melding gelezen.", "en": "{unit} has read your report."},
    "answer_asked": {"nl": "{unit} heeft u iets gevraagd.", "en": "{unit} asked you something."},
    "planned": {"nl": "{unit} koos een dag: {day}.", "en": "{unit} chose a day: {day}."},
    "resolved": {"nl": "{unit} is klaar.", "en": "{unit} has finished."},
    "refused": {"nl": "{unit} kan dit niet doen.", "en": "{unit} cannot do this."},
    "handed_over": {
        "nl": "{other} gaf uw melding door aan {unit}.",
        "en": "{other} passed your report on to {unit}.",
    },
    "supplemented": {"nl": "U hebt iets toegevoegd.", "en": "You added something."},
    "answered": {"nl": "U hebt geantwoord.", "en": "You answered."},
    "reopened": {
        "nl": "U hebt gezegd dat het niet is opgelost.",
        "en": "You said that it is not solved.",
    },
    "withdrawn": {"nl": "U hebt uw melding ingetrokken.", "en": "You took your report back."},
}

# Why a unit has a report, or has it no more, where no rule of the folder and no unit says so; the folder may
# have its own text under the code. `unit` is the one that had it before.
REASONS: Mapping[str, Texts] = {
    NAMED_BY_UNIT: {
        "nl": "{unit} zegt dat dit team uw melding kan oppakken.",
        "en": "{unit} says that this team can deal with your report.",
    },
    UNIT_LEFT: {
        "nl": "Het team dat uw melding had, bestaat niet meer.",
        "en": "The team that had your report does not exist any more.",
    },
}
_A_PERSON_DECIDES: Texts = {
    "nl": "Een medewerker beslist nu welk team uw melding krijgt.",
    "en": "Somebody here now decides which team gets your report.",
}
# What is said of a report that somebody else is told of, where the unit was not too late.
ESCALATED: Mapping[str, Texts] = {
    "not_delivered": {
        "nl": "Wij konden {unit} niet bereiken. Een medewerker kijkt ernaar.",
        "en": "We could not reach {unit}. Somebody here is looking into it.",
    },
    "refused_by_all": _A_PERSON_DECIDES,
    "moved_too_often": _A_PERSON_DECIDES,
    UNIT_LEFT: _A_PERSON_DECIDES,
}
QUESTION: Texts = {
    "nl": "{unit} heeft u iets gevraagd. U kunt hier antwoorden.",
    "en": "{unit} asked you something. You can answer here.",
}
WHO: Texts = {
    "nl": "{unit} is verantwoordelijk voor uw melding.",
    "en": "{unit} is responsible for your report.",
}
NOBODY_YET: Texts = {
    "nl": "Wij zoeken nog uit wie verantwoordelijk is.",
    "en": "We are still finding out who is responsible.",
}
ACKNOWLEDGE_BY: Texts = {
    "nl": "Uiterlijk op {day} leest {unit} uw melding.",
    "en": "{unit} will read your report by {day}.",
}
ANSWER_BY: Texts = {
    "nl": "Uiterlijk op {day} krijgt u antwoord van {unit}.",
    "en": "You will have an answer from {unit} by {day}.",
}
RESOLVE_BY: Texts = {
    "nl": "Uiterlijk op {day} wil {unit} klaar zijn.",
    "en": "{unit} wants to be done by {day}.",
}
NO_DAY: Texts = {
    "nl": "Wij weten nog niet wanneer dit klaar is.",
    "en": "We do not know yet when this will be done.",
}
NO_UNIT: Texts = {"nl": "het team", "en": "the team"}
MONTHS: Mapping[str, tuple[str, ...]] = {
    "nl": (
        "januari", "februari", "maart", "april", "mei", "juni", "juli", "augustus", "september", "oktober",
        "november", "december",
    ),
    "en": (
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
        "November", "December",
    ),
}  # fmt: skip
