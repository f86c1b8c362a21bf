"""Logs: one JSON object per line on standard output. Never words, never who; a tip's lines tell no minute."""

import logging
import sys
import traceback

import structlog

SELDOM_SECONDS = 10.0


def configure(service: str, level: str = "INFO") -> None:
    """Send structlog's and the standard library's records to one JSON stream."""
    common: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_values,
    ]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(_Seldom())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # A line for each request would hold an address and the minute of a tip.
    logging.getLogger("uvicorn.access").disabled = True
    for chatty in ("aiokafka", "faststream", "uvicorn", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    # It writes out a task with its exception's text, which may be what somebody wrote.
    logging.getLogger("asyncio").addFilter(_first_line)
    # It says many times a second that a topic is missing; the watchdog says it once a tick, with the mend.
    logging.getLogger("aiokafka.cluster").setLevel(logging.CRITICAL)
    # It calls Kafka's making its topic of offsets an error; who cannot join a group is found by `/ready`.
    logging.getLogger("aiokafka.consumer.group_coordinator").setLevel(logging.CRITICAL)
    # Past the standard library: a line for each report is a part of what a report costs.
    structlog.configure(
        processors=[*common, structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        wrapper_class=structlog.make_filtering_bound_logger(level.lower()),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


class _Seldom(logging.Filter):
    """Of what the Kafka client says again and again, lets through one line in SELDOM_SECONDS: while Kafka is
    away that is tens of lines a second, for hours."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka"):
            return True
        # The text without its values: there are few, whatever happens.
        text = str(record.msg)
        if record.created - self._said.get(text, -SELDOM_SECONDS) < SELDOM_SECONDS:
            return False
        self._said[text] = record.created
        return True


def _first_line(record: logging.LogRecord) -> bool:
    record.msg, record.args = record.getMessage().partition("\n")[0], ()
    return True


def _without_values(
    _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Replace an exception by its class and the places it passed: its message may hold what was written."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else None
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        event["exception"] = type(error).__name__
        event["trace"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
    return event
