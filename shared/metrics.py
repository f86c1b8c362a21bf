"""The metrics that every service has. Each is declared here once; no label tells one report from another."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class RelayMetrics:
    """What leaves."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Events sent and acknowledged; a repeat after a crash counts again.
        self.sent = Counter("outbox_sent", "Events acknowledged by Kafka", registry=registry)
        # Batches of which at least one record failed; each is sent again whole.
        self.failed_sends = Counter("outbox_failed_sends", "Sends that failed", registry=registry)
        # Times the relay lost its database session, and with it the lock.
        self.restarts = Counter("outbox_relay_restarts", "Relay sessions lost", registry=registry)
        # 1 in the process whose relay holds the lock.
        self.active = Gauge("outbox_relay_active", "Whether this relay is the active one", registry=registry)
        # 1 when database and topics disagree and nothing is sent until a person mends it.
        self.refused = Gauge("outbox_relay_refused", "Whether the relay refused to start", registry=registry)
        # Rows that wait to be claimed.
        self.depth = Gauge("outbox_depth", "Events not yet claimed", registry=registry)
        # Seconds since this process first saw the oldest row that still waits; no row keeps its time.
        self.oldest = Gauge("outbox_oldest_seconds", "Age of the oldest unsent event", registry=registry)


class ConsumerMetrics:
    """What comes in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        place = ("topic", "partition")
        # Events applied, by topic.
        self.applied = Counter("consumer_applied", "Events applied once", ("topic",), registry=registry)
        # Records at or below the fence: what the relay sent again.
        self.repeats = Counter("consumer_repeats", "Repeats skipped", ("topic",), registry=registry)
        # Records above the fence's next number, ignored until the missing one comes.
        self.early = Counter(
            "consumer_early", "Records ahead of a missing one", ("topic",), registry=registry
        )
        # The same number under another event id: somebody else writes to the topic.
        self.conflicts = Counter("consumer_conflicts", "Number used twice", ("topic",), registry=registry)
        # Records sent to the dead-letter topic, by reason.
        self.poison = Counter("consumer_poison", "Dead letters", ("topic", "reason"), registry=registry)
        # Batches dropped because another consumer moved the fence.
        self.superseded = Counter("consumer_superseded", "Batches superseded", registry=registry)
        # Tries that ended because a database or broker was away.
        self.not_now = Counter("consumer_not_now", "Batches put off", registry=registry)
        # 1 while a partition waits for a number that did not come within a minute: data is lost.
        self.gap = Gauge("consumer_gap", "Whether a number is missing", place, registry=registry)
        # 1 after too much poison: nothing is read until a mended program is deployed.
        self.stopped = Gauge("consumer_stopped", "Whether the consumer stopped", registry=registry)
        # Records between the fence and the end of the partition.
        self.lag = Gauge("consumer_lag_records", "Records not yet applied", place, registry=registry)
        # Seconds for which the oldest record not yet applied has been known to be there.
        self.lag_seconds = Gauge("consumer_lag_seconds", "Age of that lag", place, registry=registry)


class SurroundingsMetrics:
    """What a process stands on, as its watchdog sees it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # 1 while Kafka answers this process, with its password and over its TLS.
        self.kafka_up = Gauge("kafka_up", "Whether Kafka answers", registry=registry)
        # 1 while a topic that this process reads is missing or has other partitions than the contract says.
        self.topics_wrong = Gauge(
            "kafka_topics_wrong", "Whether topics break the contract", registry=registry
        )
        # 1 while the database answers this process.
        self.database_up = Gauge("database_up", "Whether the database answers", registry=registry)
        # Seconds since the oldest open transaction of this service's role began; 0 where none is open.
        self.oldest_transaction = Gauge(
            "database_oldest_transaction_seconds", "Age of the oldest open transaction", registry=registry
        )
        # When a certificate ends to be valid, in seconds since 1970: of each broker (host:port) the one that
        # it shows, and `authority`, the one in our own file that this comes from. Stays as it was last seen,
        # so that a certificate that has ended is told too.
        self.certificate = Gauge(
            "kafka_certificate_expires_timestamp_seconds",
            "When a certificate ends",
            ("certificate",),
            registry=registry,
        )
