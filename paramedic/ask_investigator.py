"""Have the running investigator look again and wait for what it finds; it alone writes the topic `investigations`."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final

from libs.contracts.document import Section
from libs.contracts.investigation import InvestigationCompleted
from libs.errors import NotFound, Unavailable
from libs.service.settings import Settings
from libs.stores.incidents import IncidentStore
from paramedic.api_client import post
from services.investigator.pending import asked_key

# A later look reads 20,000 spans a window: 2 s on a busy machine; behind a queue of other incidents it takes longer.
_LOOK_S: Final = 60.0
_EVERY_S: Final = 0.2
_STATISTICS: Final = "statistics"
_GIVEN_UP: Final = "partial"


def _post(settings: Settings, path: str, body: dict[str, Any]) -> Any:
    return post(settings, path, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskInvestigator:
    """Asks through the incident API, the one writer of `commands`, and reads the answer from the store.

    Attributes:
        settings: Where the API is; whether a model goes further after the statistics, and for how long.
        incidents: The store that the services write.
        send: Posts to the API.
        timer: Seconds, monotonic.
        pause: Waits some seconds between two looks.
    """

    settings: Settings
    incidents: IncidentStore
    send: Callable[[Settings, str, dict[str, Any]], Any] = _post
    timer: Callable[[], float] = time.monotonic
    pause: Callable[[float], object] = field(default_factory=lambda: Event().wait)

    def ask(self, incident_ref: str, actor: str) -> InvestigationCompleted:
        """The result that the service wrote and published: the model's where one goes further, else the statistical.

        Raises:
            NotFound: there is no such incident.
            Unavailable: nothing came in time; the command stays written and is carried out later.
        """
        document = self.incidents.get(incident_ref)
        if document is None:
            raise NotFound(f"no incident {incident_ref!r}; `paramedic incidents` lists them")
        incident_id = document.incident.id
        accepted = self.send(self.settings, f"/api/v1/incidents/{incident_id}/investigate", {"actor": actor})
        command_id = str(accepted["command_id"])
        if not self._waited(lambda: self.incidents.state(asked_key(command_id)) is not None, _LOOK_S):
            raise Unavailable(
                f"the command is written, but the investigator has not carried it out within {_LOOK_S:.0f} s; "
                "`paramedic doctor` shows whether it runs"
            )
        first = self._newest(incident_id)
        if first is None:
            raise Unavailable(f"the investigator looked at {incident_ref} and kept no result; its log says why")
        if not self.settings.model:
            return first
        self._waited(lambda: _is_models(self._newest(incident_id), first), self.settings.investigation_s)
        return self._newest(incident_id) or first

    def _newest(self, incident_id: str) -> InvestigationCompleted | None:
        section = self.incidents.section(incident_id, Section.INVESTIGATION)
        if section is None:
            return None
        newest: InvestigationCompleted = section[0]
        return newest

    def _waited(self, happened: Callable[[], bool], seconds: float) -> bool:
        until_s = self.timer() + seconds
        while not happened():
            if self.timer() >= until_s:
                return False
            self.pause(_EVERY_S)
        return True


def _is_models(newest: InvestigationCompleted | None, first: InvestigationCompleted) -> bool:
    """Whether a model has answered, or was given up, since (or already, when it was quick)."""
    if newest is None:
        return False
    return newest.author != _STATISTICS or newest.status == _GIVEN_UP or newest.revision > first.revision
