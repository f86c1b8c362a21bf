"""Mistakes in what is published, since when and with how much noise."""

from tests.unit.municipality.edits import Planted, S, swap

STATISTICS: dict[str, Planted] = {
    "no noise": Planted(
        swap(S, "month = 2  ", "month = 0  "), S, "reports.month", "the number is too small", "from 1 to 1000"
    ),
    "noise that is no whole number": Planted(
        swap(S, "took = 7", "took = 7.5"), S, "reports.took", "this is no whole number", "from 1 to 1000"
    ),
    "reports that spend too much": Planted(
        swap(S, "outcome = 7", "outcome = 6"),
        S,
        "reports.outcome",
        "the tables spend 106/105",
        "write larger scales",
    ),
    "incidents that spend too much": Planted(
        swap(S, "month = 2\nweek_part = 5\n", "month = 1\nweek_part = 5\n"),
        S,
        "incidents.week_part",
        "the tables spend 6/5",
        "write larger scales",
    ),
    "statistics that begin within a quarter": Planted(
        swap(S, "since = 2026-10-01", "since = 2026-11-01"),
        S,
        "reports.since",
        "2026-11-01 is not the first day of a quarter",
        "such as 2026-10-01",
    ),
    "a quarter that closes before its last week-part": Planted(
        swap(S, "horizon_days = 30", "horizon_days = 1 "),
        S,
        "reports.horizon_days",
        "would close 24 hours after its end, and its last week-part 48",
        "at least closes_hours",
    ),
    "statistics without a version": Planted(
        swap(S, "version = 1\n", ""), S, "version", "the key is missing", "one more than before"
    ),
    "a category of crime twice": Planted(
        swap(S, '"robbery"', '"burglary"'),
        S,
        "incidents.categories[3].id",
        "is that of incidents.categories[0]",
        "one of its own",
    ),
    "a category of crime without a language": Planted(
        swap(S, 'nl = "Inbraak", ', ""),
        S,
        "incidents.categories[0].names.nl",
        "in this language is missing",
        "add nl",
    ),
    "inhabitants of no area": Planted(
        swap(S, "oakwood = 8900", "oakwoods = 8900"), S, "inhabitants.oakwoods", "unknown area", "oakwood"
    ),
    "inhabitants below zero": Planted(
        swap(S, "oakwood = 8900", "oakwood = -1"), S, "inhabitants.oakwood", "too small", "whole number"
    ),
}
