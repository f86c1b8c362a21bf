"""What schemathesis calls a failure and is none: the one place where a check is let off, with the reason.

A check is let off only for an answer of this code, about these parts of the request, on these operations.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Excuse:
    """`failure`, as schemathesis calls it, is let off where the answer is a problem of `code` whose pointers
    all begin with one of `about`; on every operation, or on that one."""

    failure: str
    code: str
    why: str
    about: tuple[str, ...] = ("",)
    operation: str = ""

    def covers(self, failure: str, operation: str, code: str, pointers: list[str]) -> bool:
        """Whether it is let off."""
        return (
            (self.failure, self.code) == (failure, code)
            and self.operation in ("", operation)
            and all(pointer.startswith(self.about) for pointer in pointers)
        )


REJECTED = "RejectedPositiveData"
_TOWNS = "what there is of it is the municipality's, as GET /v1/form says, and not the document's"
_GONE = "it was there, and the request is as sound as before: 410 tells whoever has a copy to let it go"
_KEY = "that a key was drawn at random is no matter of form; a pattern cannot count different characters"
_CURSOR = "a cursor is given by the page before, and made up by nobody"
_PHOTO = "that bytes are a photo that can be decoded is nothing that a schema says"

EXCUSES = (
    Excuse(REJECTED, "report-erased", _GONE),
    Excuse(REJECTED, "issue-gone", _GONE),
    Excuse(REJECTED, "report-restricted", _GONE),
    Excuse(REJECTED, "unknown-category", _TOWNS, ("/category", "/query/category")),
    Excuse(REJECTED, "unknown-language", _TOWNS, ("/language", "/query/language")),
    Excuse(REJECTED, "unknown-area-set", _TOWNS, ("/location/area",)),
    Excuse(REJECTED, "unknown-area", _TOWNS, ("/location/area",)),
    Excuse(REJECTED, "unknown-unit", _TOWNS, ("/unit",)),
    Excuse(
        REJECTED,
        "unsuitable",
        "units, areas, outcomes and reasons are the municipality's; a plan needs a day that is not past",
        ("/unit", "/area", "/outcome", "/reason", "/to_unit", "/day", "/text"),
    ),
    Excuse(REJECTED, "impossible", "what is possible depends on what was done before"),
    Excuse(REJECTED, "not-written", "whether tips has the report is no matter of form"),
    Excuse(REJECTED, "moved-on", "which unit has it depends on what was done before"),
    Excuse(REJECTED, "unknown-question", _TOWNS, ("/answers",)),
    Excuse(REJECTED, "wrong-answers", _TOWNS, ("/answers",)),
    Excuse(REJECTED, "contact-not-possible", _TOWNS, ("/contact",)),
    Excuse(REJECTED, "outside-municipality", _TOWNS, ("/location/point",)),
    Excuse(
        REJECTED,
        "emergency",
        "the emergency stop reads the words: it stops what is in order otherwise",
        ("/not_an_emergency",),
    ),
    Excuse(REJECTED, "not-yet", "a document has no clock", ("/happened",), "POST /v1/reports"),
    Excuse(
        REJECTED,
        "invalid-request",
        "no schema says that February has no 30th, or that `to` does not come before `from`",
        ("/happened",),
        "POST /v1/reports",
    ),
    Excuse(
        REJECTED,
        "invalid-request",
        "an address with characters that nobody sees is refused, and no pattern names them all",
        ("/contact/email",),
        "POST /v1/reports",
    ),
    Excuse(REJECTED, "invalid-request", _CURSOR, ("/query/cursor",)),
    Excuse(REJECTED, "invalid-request", "west must not be east of east, and so on", ("/query/box",)),
    Excuse(REJECTED, "invalid-request", "one of its words must be letters or digits", ("/query/text",)),
    Excuse(REJECTED, "idempotency-key-weak", _KEY),
    Excuse(REJECTED, "photo-unknown", "an upload's id is given, and made up by nobody", ("/photos",)),
    Excuse(REJECTED, "photo-taken", "an upload belongs to one report or message", ("/photos",)),
    Excuse(REJECTED, "release-unknown", "a digest is given by the list, and made up by nobody"),
    Excuse(REJECTED, "reversed-range", "no schema says that `until` does not come before `from`"),
    Excuse(REJECTED, "period-or-range", "no schema says that of two parameters one may be there"),
    Excuse(REJECTED, "range-too-long", "no schema counts the years between `from` and `until`"),
    Excuse(REJECTED, "unknown-period", "a pattern does not say which weeks lie in which month"),
    Excuse(REJECTED, "unknown-parameter", "only figures can be asked for of one area", ("/query",)),
    Excuse(REJECTED, "not-a-photo", _PHOTO),
    Excuse(REJECTED, "photo-broken", _PHOTO),
)
