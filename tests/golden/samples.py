"""The golden samples as they lie beside this file, by file name without `.json`."""

import json
from pathlib import Path
from typing import Any

from shared.events import EVENT_TYPES

SAMPLES = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in Path(__file__).parent.glob("*.json")
}
Sample = dict[str, Any]


def parts_of(sample: Sample) -> tuple[bytes, bytes | None, list[tuple[str, bytes | None]]]:
    """Key, value and headers as they come from Kafka."""
    headers: list[tuple[str, bytes | None]] = [
        (name, value.encode()) for name, value in sample["headers"].items()
    ]
    value = None if sample["value"] is None else json.dumps(sample["value"]).encode()
    return sample["key"].encode(), value, headers


def topic_of(sample: Sample) -> str:
    """The topic that the sample's type goes to."""
    return EVENT_TYPES[sample["headers"]["ce_type"]].topic.name
