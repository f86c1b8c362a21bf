"""Refusals in the language of whoever meets them: English as they are raised, Dutch by the Accept-Language
header. What belongs to one report, such as the emergency stop, is in that report's language already.
"""

from collections.abc import Mapping

from fastapi import Request

from shared import web
from shared.web import Problem

LANGUAGES = ("en", "nl")
_LATER = "Probeer het over een paar seconden opnieuw."
_CHOOSE = ("Kies iets anders", "Dit kan hier niet. Kies een van de mogelijkheden in `allowed`.")
_NEW_KEY = "Maak voor elke melding een nieuwe Idempotency-Key."
_KINDS = "JPEG, PNG, WebP of HEIC"
# Title and detail of each code that the public application answers with, level B1. Names in braces are
# members of the problem; `seconds` is its Retry-After.
DUTCH: Mapping[str, tuple[str, str]] = {
    "body-too-large": ("Te groot", "Stuur niet meer dan {limit_bytes} bytes."),
    "contact-not-possible": (
        "Hier geen contactgegevens",
        "Stuur de melding zonder naam, e-mailadres en telefoonnummer: daar vragen wij hier niet om.",
    ),
    "coordinates-swapped": (
        "Breedte en lengte zijn verwisseld",
        "Deze plek ligt buiten de gemeente, en erin als u de twee getallen verwisselt. Doe dat.",
    ),
    "cut-off": ("Afgebroken", "Niet alles is aangekomen. Stuur het opnieuw."),
    "damaged": (
        "Wij kunnen dit niet lezen",
        "Wat wij bewaren is beschadigd. Probeer het later opnieuw. De beheerder weet het.",
    ),
    "idempotency-key-expired": (
        "Deze Idempotency-Key is van meer dan een dag geleden",
        f"Die melding is bewaard, en uw code werkt nog. {_NEW_KEY}",
    ),
    "idempotency-key-missing": ("Geen Idempotency-Key", f"Stuur de header Idempotency-Key mee. {_NEW_KEY}"),
    "idempotency-key-reused": ("Deze Idempotency-Key is van een andere melding", _NEW_KEY),
    "idempotency-key-weak": (
        "De Idempotency-Key is niet sterk genoeg",
        "Maak die van 128 willekeurige bits: 22 tot 128 tekens uit A-Z a-z 0-9 _ -.",
    ),
    "internal-error": (
        "Er ging bij ons iets mis",
        "Probeer het later opnieuw. Met dezelfde Idempotency-Key wordt niets twee keer bewaard.",
    ),
    "invalid-request": ("Er klopt iets niet", "Verbeter wat in `errors` staat."),
    "issue-closed": ("Hier wordt niets meer aan gedaan", "Stuur zelf een melding."),
    "issue-gone": (
        "Niet meer openbaar",
        "Wis wat u van deze melding hebt bewaard. U hoeft niet opnieuw te vragen.",
    ),
    "issue-unknown": ("Deze melding kennen wij niet", "Zoek de melding in de lijst: /v1/issues."),
    "key-lost": ("Dit lukt nu niet", "Probeer het later opnieuw. De beheerder weet het."),
    "key-twice": ("Iets staat er twee keer", "Stuur elke naam in het JSON-object een keer."),
    "malformed-json": ("Geen goede JSON", "Stuur een heel JSON-object."),
    "message-id-reused": (
        "Deze Idempotency-Key is van een ander bericht",
        "Maak voor elk bericht een nieuwe.",
    ),
    "method-not-allowed": ("Niet op deze manier", "De header Allow zegt hoe het wel kan."),
    "no-email-for-tips": (
        "Over een tip sturen wij geen e-mail",
        "Een tip is anoniem, een e-mailadres niet. Kom terug met uw code.",
    ),
    "no-email-here": (
        "Deze gemeente stuurt geen e-mail",
        "Kom terug met uw code om te zien wat er nieuw is.",
    ),
    "not-a-photo": ("Dit is geen foto", f"Stuur een foto: {_KINDS}."),
    "not-erased": ("Niet gewist", "U krijgt een bewijs als uw melding gewist is."),
    "not-found": ("Hier is niets", "Kijk in de OpenAPI-beschrijving welke adressen er zijn."),
    "not-now": (
        "Nu even niet",
        f"{_LATER} Een melding met dezelfde Idempotency-Key wordt een keer bewaard.",
    ),
    "not-possible-now": (
        "Dat kan nu niet",
        "Zo staat het nu niet met uw melding. Kies iets uit `possible`.",
    ),
    "not-utf-8": ("Geen UTF-8", "Stuur de tekst als UTF-8."),
    "not-yet": ("Dat moet nog komen", "Verbeter de tijden die in `errors` staan."),
    "outside-municipality": (
        "Buiten de gemeente",
        "Deze plek ligt buiten de gemeente. Kies een andere plek, of geef een adres of een gebied.",
    ),
    "photo-broken": (
        "Wij kunnen de foto niet lezen",
        f"De foto is kapot of niet compleet. Stuur die opnieuw, of maak een andere: {_KINDS}.",
    ),
    "photo-missing": ("Dit lukt nu niet", "Probeer het later opnieuw. De beheerder weet het."),
    "photo-taken": (
        "Deze foto hoort al bij iets anders",
        "Een foto hoort bij een melding of bericht. Stuur de foto opnieuw, met het nieuwe nummer.",
    ),
    "photo-too-large": ("De foto is te groot", "Stuur een foto van niet meer dan {limit_bytes} bytes."),
    "photo-too-many-pixels": ("De foto is te groot", "Stuur een foto met minder pixels."),
    "photo-twice": ("Een foto staat er twee keer", "Noem elke foto een keer."),
    "photo-unknown": (
        "Deze foto hebben wij niet",
        (
            "Een foto zonder melding bewaren wij een dag. Komen er heel veel foto's binnen, dan een uur."
            " Stuur de foto opnieuw, met het nieuwe nummer."
        ),
    ),
    "photos-busy": ("Er komen veel foto's binnen", "Probeer het over een halve minuut opnieuw."),
    "photos-full": (
        "Er kunnen nu geen foto's bij",
        "Stuur uw melding zonder foto's, of probeer het later opnieuw.",
    ),
    "receipt-missing": (
        "Geen code",
        "Stuur de header `Authorization: Receipt` met de code die u kreeg toen u de melding deed.",
    ),
    "receipt-unknown": (
        "Bij deze code hoort geen melding",
        "Kijk elk teken na: een code heeft 21 letters en cijfers. Wij bewaren een melding niet voor altijd.",
    ),
    "refused": ("Dit kan niet", "Kijk in de OpenAPI-beschrijving wat er kan."),
    "reopened-before": (
        "Dit hebt u al gezegd",
        "Het team kijkt er opnieuw naar. Wilt u iets toevoegen? Stuur een bericht.",
    ),
    "report-erased": ("Gewist", "Wat u schreef is gewist. U hoeft niet opnieuw te vragen."),
    "report-restricted": (
        "Niemand mag dit lezen",
        "De wet vraagt ons om dit nog te bewaren. Niemand leest het, en daarna wissen wij het.",
    ),
    "report-sent-and-erased": (
        "Deze melding is gewist",
        f"Wij kregen die al eerder. Nu is er niets bewaard. Met de code ziet u het bewijs. {_NEW_KEY}",
    ),
    "too-many": (
        "Te veel van uw netwerk",
        "Probeer het over {seconds} seconden opnieuw. Wij hebben hiervan niets bewaard, ook niet wie u bent.",
    ),
    "too-many-messages": (
        "Te veel berichten",
        "U kunt bij een melding {limit_messages} berichten sturen. Stuur een nieuwe melding.",
    ),
    "too-many-photos": ("Te veel foto's", "Bij een melding en de berichten kunnen niet nog meer foto's."),
    "too-slow": ("Te langzaam", "Het duurde te lang. Stuur het opnieuw."),
    "unknown-area": _CHOOSE,
    "unknown-area-set": _CHOOSE,
    "unknown-category": _CHOOSE,
    "unknown-language": _CHOOSE,
    "unknown-question": _CHOOSE,
    "wrong-answers": ("Een antwoord klopt niet", "Verbeter de antwoorden die in `errors` staan."),
    "wrong-content-type": ("Geen JSON", "Stuur het als application/json, in UTF-8."),
}


def in_their_language(request: Request, problem: Problem) -> Problem:
    """The problem with title and detail in a language of whoever sent the request."""
    language = problem.body.get("language")
    headers = dict(problem.headers or {})
    if language is None:
        language = web.choose_language(LANGUAGES, None, request.headers.get("accept-language", ""))
        headers["Vary"] = "Accept-Language"
        dutch = DUTCH.get(problem.body["type"].rpartition(":")[2])
        if language == "nl" and dutch:
            given = {"seconds": headers.get("Retry-After"), **problem.body}
            title, detail = (text.format_map(given) for text in dutch)
            problem.body |= {"title": title, "detail": detail}
    problem.headers = headers | {"Content-Language": language}
    return problem
