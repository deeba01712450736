"""Places where a ticket lives besides the incident store; a new ticket system is one new file in this package.

A module defines `open_backend(settings) -> TicketBackend | None`, None when the settings do not ask for it. The
module's name is the backend's name in links, logs and the docs.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Protocol

from libs.contracts.document import LinkedTicket
from libs.service.settings import Settings
from services.ticketing.ticket import Change


class TicketBackend(Protocol):
    """Another ticket system that is kept up to date."""

    def sync(self, change: Change) -> LinkedTicket | None:
        """Bring the ticket to the state of a change; called again for the same change it does nothing new.

        Returns:
            Where the ticket is found there, or None when there is nothing to link.
        Raises:
            Unavailable: try again later.
            InvalidMessage: this change will never be taken.
        """
        ...


def backend_names() -> tuple[str, ...]:
    """Names of all backends in this package."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def open_backends(settings: Settings) -> Mapping[str, TicketBackend]:
    """Backends that the settings ask for, by name."""
    opened = {}
    for name in backend_names():
        backend = importlib.import_module(f"{__name__}.{name}").open_backend(settings)
        if backend is not None:
            opened[name] = backend
    return opened
