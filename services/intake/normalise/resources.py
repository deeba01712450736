"""Resources: who sent it."""

from dataclasses import dataclass
from typing import Final

from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ProtoResource

from services.intake.normalise.attributes import attributes_of, bounded

UNKNOWN_SERVICE: Final = "unknown_service"  # what the OpenTelemetry resource conventions prescribe


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A sender.

    Attributes:
        service: service.name.
        attributes: The other resource attributes.
        identity: One text that differs between two resources.
    """

    service: str
    attributes: dict[str, str]
    identity: str


def resource_of(resource: ProtoResource) -> Resource:
    """The sender of a block; without a service.name it is "unknown_service"."""
    attributes = attributes_of(resource.attributes)
    service = attributes.pop("service.name", "") or UNKNOWN_SERVICE
    kept = bounded(attributes)
    identity = "\x1f".join([service, *(f"{key}\x1e{value}" for key, value in sorted(attributes.items()))])
    return Resource(service=service, attributes=kept, identity=identity)
