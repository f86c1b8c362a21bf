"""The metrics of `tips`, each declared once. None has a label that separates tips from issues: a count per
kind, read every few seconds, would tell the minute of a tip."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class TipsMetrics:
    """What residents send, and who reads it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Reports stored; a submission that came again is not counted again.
        self.accepted = Counter("report_accepted", "Reports accepted", registry=registry)
        # Submissions refused, by the code of the answer: a fixed list, nothing that was sent.
        self.refused = Counter(
            "report_refused_at_intake", "Submissions refused", ("code",), registry=registry
        )
        # From the request's headers to the commit, for reports that were stored.
        self.intake_seconds = Histogram(
            "report_intake_seconds",
            "Time to store a report",
            registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        # E-mails by what came of the attempt: sent; no_mailbox (the address is erased); later and blocked
        # (tried again: the server is busy or away, or refuses for good what is not the address's fault);
        # given_up after the last attempt; erased; key_lost. Only issues have any.
        self.emails = Counter("emails", "Attempts to send an e-mail", ("outcome",), registry=registry)
        # Readings of words that were logged and answered.
        self.words_read = Counter("report_words_read", "Readings of words", registry=registry)
        # Photos stored, of tips and issues alike, and those that no report took in the end too.
        self.photos_taken = Counter("photo_taken", "Photos stored", registry=registry)
        # Photos refused, by the code of the answer: a fixed list, nothing that was sent.
        self.photos_refused = Counter("photo_refused", "Photos refused", ("code",), registry=registry)
        # 1 while the last call of the photo store failed; it is tried again every minute.
        self.photo_store_away = Gauge(
            "photo_store_away", "Whether the photo store does not answer", registry=registry
        )
