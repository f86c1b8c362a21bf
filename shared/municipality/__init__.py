"""A municipality is a folder of TOML and GeoJSON files: `read(folder)` reads and checks it whole.

Every service reads the same folder at start. `python -m shared.municipality FOLDER` checks one by hand.
No numpy and no shapely here: two of the three services have neither.
"""

from shared.municipality.channels import Channel, ChannelKind, Desk, Email, Extent, Webhook
from shared.municipality.folder import read
from shared.municipality.hours import LONGEST_WEEKS, WEEKDAYS, Span, Week
from shared.municipality.model import (
    LONGEST_WAIT_MINUTES,
    Area,
    AreaSet,
    Category,
    Municipality,
    Targets,
    Unit,
)
from shared.municipality.parts import Texts
from shared.municipality.phrases import Wording, normalised
from shared.municipality.questions import Option, Question
from shared.municipality.rules import HOLIDAY, SOURCES, Rule, When
from shared.municipality.statistics import Crime, Statistics

__all__ = [
    "HOLIDAY",
    "LONGEST_WAIT_MINUTES",
    "LONGEST_WEEKS",
    "SOURCES",
    "WEEKDAYS",
    "Area",
    "AreaSet",
    "Category",
    "Channel",
    "ChannelKind",
    "Crime",
    "Desk",
    "Email",
    "Extent",
    "Municipality",
    "Option",
    "Question",
    "Rule",
    "Span",
    "Statistics",
    "Targets",
    "Texts",
    "Unit",
    "Webhook",
    "Week",
    "When",
    "Wording",
    "normalised",
    "read",
]
