"""Protobuf messages that no installed package brings, built from descriptors at first use.

Source: prometheus/prompb/remote.proto and types.proto (remote write 1.0), google/rpc/status.proto.
"""

from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
# message -> field -> (number, type); a leading * is a list, a type that is not listed here is a message.
_TYPES: Final = {
    "string": _Field.TYPE_STRING,
    "double": _Field.TYPE_DOUBLE,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
    "sint32": _Field.TYPE_SINT32,
    "sint64": _Field.TYPE_SINT64,
}
_MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "Label": {"name": (1, "string"), "value": (2, "string")},
    "Sample": {"value": (1, "double"), "timestamp": (2, "int64")},
    "BucketSpan": {"offset": (1, "sint32"), "length": (2, "uint32")},
    "Histogram": {
        "count_int": (1, "uint64"),
        "count_float": (2, "double"),
        "sum": (3, "double"),
        "schema": (4, "sint32"),
        "zero_threshold": (5, "double"),
        "zero_count_int": (6, "uint64"),
        "negative_spans": (8, "*BucketSpan"),
        "negative_deltas": (9, "*sint64"),
        "positive_spans": (11, "*BucketSpan"),
        "positive_deltas": (12, "*sint64"),
        "timestamp": (15, "int64"),
    },
    "TimeSeries": {"labels": (1, "*Label"), "samples": (2, "*Sample"), "histograms": (4, "*Histogram")},
    "MetricMetadata": {"type": (1, "int32"), "metric_family_name": (2, "string"), "unit": (5, "string")},
    "WriteRequest": {"timeseries": (1, "*TimeSeries"), "metadata": (3, "*MetricMetadata")},
    "Status": {"code": (1, "int32"), "message": (2, "string")},
}


@cache
def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="paramedic/intake.proto", package="paramedic", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            wanted = kind.removeprefix("*")
            field = message.field.add(name=field_name, number=number, type=_TYPES.get(wanted, _Field.TYPE_MESSAGE))
            field.label = _Field.LABEL_REPEATED if kind.startswith("*") else _Field.LABEL_OPTIONAL
            if wanted not in _TYPES:
                field.type_name = f".paramedic.{wanted}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"paramedic.{name}")) for name in _MESSAGES
    }


def message_class(name: str) -> Any:
    """Class of one of the messages above."""
    return _classes()[name]
