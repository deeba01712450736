"""The Schema Registry of the settings; its client's packages are needed only where one is configured."""

from typing import TYPE_CHECKING

from libs.contracts.schema_ids import FixedSchemaIds, SchemaIds
from libs.errors import ConfigurationError
from libs.service.settings import Settings

if TYPE_CHECKING:
    from libs.streaming.registry import Registry


def open_registry(settings: Settings) -> "Registry":
    """The configured registry; `ConfigurationError` when there is none or its client is not installed."""
    if not settings.schema_registry:
        raise ConfigurationError("set PARAMEDIC_SCHEMA_REGISTRY to the URL of a Schema Registry")
    try:
        from libs.streaming.registry import Registry, RegistryAccess
    except ImportError as error:
        raise ConfigurationError(
            f'PARAMEDIC_SCHEMA_REGISTRY needs further packages ({error}): pip install "paramedic[registry]"'
        ) from error
    login, authority = settings.schema_registry_auth, settings.schema_registry_ca
    return Registry(
        RegistryAccess(
            url=settings.schema_registry,
            login=login.get_secret_value() if login else "",
            ca_file=str(authority) if authority else "",
        )
    )


def open_schema_ids(settings: Settings) -> SchemaIds:
    """Ids from the configured registry, or the fixed ones."""
    if not settings.schema_registry:
        return FixedSchemaIds()
    registry = open_registry(settings)
    from libs.streaming.registry import RegistrySchemaIds

    return RegistrySchemaIds(registry)
