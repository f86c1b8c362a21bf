"""The metrics of notify. A unit's name stands only on the state of its circuit, never on a count of tips."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class DeliveryMetrics:
    """What goes to units."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Attempts by what became of the delivery: done, open (it is tried again), dead, cancelled, late
        # (another worker was faster, or the report was withdrawn meanwhile).
        self.attempts = Counter("deliveries", "Delivery attempts by result", ("result",), registry=registry)
        # There from the start: what first appears as a 1 has not risen, for whoever watches.
        for result in ("done", "open", "dead", "cancelled", "late"):
            self.attempts.labels(result)
        # Seconds from when a delivery was due until the unit's system had it and that was recorded; of a tip
        # from when it was last tried.
        self.seconds = Histogram(
            "delivery_seconds",
            "From due to delivered",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
            registry=registry,
        )
        # Deliveries that have neither reached their unit nor been given up.
        self.open = Gauge("deliveries_open", "Open deliveries", registry=registry)
        # Seconds since the oldest open delivery was due; of a tip since this process saw that it was.
        self.oldest = Gauge(
            "delivery_oldest_seconds", "Age of the oldest overdue delivery", registry=registry
        )
        # 1 while a unit's system, or tips, is tried with one call at a time because it kept failing.
        self.circuit = Gauge(
            "delivery_circuit_open", "Whether calls are held back", ("destination",), registry=registry
        )
        # Answers that units gave by link, by what they led to: done, already, refused.
        self.answers = Counter("link_answers", "Answers by signed link", ("result",), registry=registry)
        # Reports, tips and issues together, that their unit should have acknowledged by the last whole hour,
        # and had not. It changes on the hour alone: a fall in between would tell when a tip was answered.
        self.past_due = Gauge(
            "unacknowledged_past_due", "Reports not acknowledged in time", registry=registry
        )
        # Times that a report's missed target was told to a level; tips and issues together.
        self.escalated = Counter("reports_escalated", "Missed targets told", registry=registry)


class SubscriptionMetrics:
    """What goes to webhook subscriptions: public events, so a subscription's name may stand here."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Calls by what became of the delivery: done, open (it is tried again), late (it was gone or taken by
        # another worker before that was recorded).
        self.attempts = Counter(
            "subscription_deliveries", "Calls of subscriptions by result", ("result",), registry=registry
        )
        for result in ("done", "open", "late"):
            self.attempts.labels(result)
        # Events that have not reached their subscribers, those of disabled subscriptions included.
        self.open = Gauge("subscription_deliveries_open", "Open deliveries", registry=registry)
        # Events that their subscribers refused until they were set aside.
        self.set_aside = Gauge(
            "subscription_deliveries_set_aside", "Refused and set aside", registry=registry
        )
        # Seconds since the oldest of the open ones came, without those of disabled subscriptions.
        self.oldest = Gauge(
            "subscription_delivery_oldest_seconds", "Age of the oldest waiting event", registry=registry
        )
        # 1 while a subscriber is tried with one call at a time because it kept failing.
        self.circuit = Gauge(
            "subscription_circuit_open", "Whether calls are held back", ("subscription",), registry=registry
        )
        # Subscriptions that are not called: failing (for days nothing but failures) or command.
        self.disabled = Gauge(
            "subscriptions_disabled", "Subscriptions not called", ("why",), registry=registry
        )
        for why in ("failing", "command"):
            self.disabled.labels(why)
