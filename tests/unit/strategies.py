"""Hypothesis strategies: any event of a type, made from the fields of its model."""

import string
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin
from uuid import UUID

from annotated_types import Ge, Le
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shared import events
from shared.events import hour_of

Strategy = st.SearchStrategy[Any]
Model = TypeVar("Model", bound=BaseModel)

# A day from the ends of the calendar, so that every zone can show them.
_FIRST, _LAST = datetime(1, 1, 2), datetime(9999, 12, 30)  # noqa: DTZ001 - hypothesis adds the zone
MOMENTS = st.datetimes(_FIRST, _LAST, timezones=st.just(UTC))
HOURS = MOMENTS.map(hour_of)
_ALPHANUMERIC = string.ascii_letters + string.digits
CODES = st.builds(str.__add__, st.sampled_from(_ALPHANUMERIC), st.text(_ALPHANUMERIC + "_.-", max_size=63))

_HOUR = get_args(events.Hour)[1:]
_CODE = get_args(events.Code)[1:]


def events_of(model: type[Model]) -> st.SearchStrategy[Model]:
    """Any event that the model allows; what has a default is left out now and then."""
    required: dict[str, Strategy] = {}
    optional: dict[str, Strategy] = {}
    for name, field in model.model_fields.items():
        part = optional if not field.is_required() else required
        part[name] = _values(field.annotation, tuple(field.metadata))
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: model(**fields))


def _values(annotation: Any, metadata: tuple[Any, ...]) -> Strategy:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(arguments[0], (*_unpacked(arguments[1:]), *metadata))
    if origin is not None:
        return _compound(origin, arguments)
    if issubclass(annotation, BaseModel):
        return events_of(annotation)
    return _PLAIN[annotation](metadata)


def _unpacked(metadata: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        inner for outer in metadata for inner in (outer.metadata if isinstance(outer, FieldInfo) else [outer])
    )


def _compound(origin: Any, arguments: tuple[Any, ...]) -> Strategy:
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, UnionType):
        return st.one_of([_values(argument, ()) for argument in arguments])
    if origin is dict:
        return st.dictionaries(_values(arguments[0], ()), _values(arguments[1], ()), max_size=4)
    assert origin is tuple
    assert arguments[1:] == (...,)
    return st.lists(_values(arguments[0], ()), max_size=4).map(tuple)


def _bounds(metadata: tuple[Any, ...]) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    for item in metadata:
        if isinstance(item, Ge):
            bounds["min_value"] = item.ge
        elif isinstance(item, Le):
            bounds["max_value"] = item.le
    return bounds


def _texts(metadata: tuple[Any, ...]) -> Strategy:
    if metadata == _CODE:
        return CODES
    patterns = [item.pattern for item in metadata if isinstance(getattr(item, "pattern", None), str)]
    return st.from_regex(patterns[0], fullmatch=True) if patterns else st.text(max_size=200)


_PLAIN: Mapping[Any, Callable[[tuple[Any, ...]], Strategy]] = {
    str: _texts,
    int: lambda metadata: st.integers(**_bounds(metadata)),
    float: lambda metadata: st.floats(**_bounds(metadata)),
    bool: lambda _: st.booleans(),
    UUID: lambda _: st.uuids(),
    date: lambda _: st.dates(),
    datetime: lambda metadata: HOURS if metadata == _HOUR else MOMENTS,
    NoneType: lambda _: st.none(),
}
