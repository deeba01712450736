"""The running services: start, deploy, roll back, restart, scale, replace what crashes."""

import asyncio
import itertools
import logging
import os
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.shop.launch import Launch
from examples.shop.processes import OWN_SOURCE, Instance, NotReady, end_instance, start_instance
from examples.shop.releases import MAX_REPLICAS, SERVICES, ServiceSpec
from examples.shop.state_files import ENDPOINTS_FILE, replace_json

logger = logging.getLogger("shop.fleet")

BANK = "bank"
_READY_WITHIN_S = 20.0  # a start takes 1 s of processor time; twenty for a machine that is busy elsewhere
_DRAIN_S = 0.5  # the others re-read the registry at each call, so only calls under way are left after this
_RESPAWN_PAUSE_S = 1.0


class Unknown(Exception):
    """There is no such service, instance or flag."""


class Conflict(Exception):
    """It cannot be done in the present state."""


class NotAccepted(Exception):
    """What is asked for makes no sense."""


@dataclass(slots=True, kw_only=True)
class ServiceState:
    """One service as it runs.

    Attributes:
        spec: What it is.
        history: Versions that were live and not rolled back; the last one is live.
        instances: Its processes in the registry.
        replicas: How many there should be.
        changing: Held while it is changed.
        sources: Folders of the versions that were deployed from one.
    """

    spec: ServiceSpec
    history: list[str]
    replicas: int
    instances: list[Instance] = field(default_factory=list)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    sources: dict[str, Path] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The live version."""
        return self.history[-1]

    @property
    def versions(self) -> tuple[str, ...]:
        """What can be deployed by its name alone: releases, and what was deployed from a folder."""
        return (*self.spec.versions, *self.sources)

    @property
    def previous_version(self) -> str | None:
        """The version that a rollback goes to."""
        return self.history[-2] if len(self.history) > 1 else None

    def as_json(self) -> dict[str, object]:
        """What the control API shows."""
        return {
            "name": self.spec.name,
            "version": self.version,
            "previous_version": self.previous_version,
            "versions": list(self.versions),
            "replicas": self.replicas,
            "instances": [instance.as_json() for instance in self.instances],
            "ready": len(self.instances) == self.replicas and all(instance.ready for instance in self.instances),
        }


class Fleet:
    """Owns every process of the shop. One change per service at a time; new instances before old ones end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = itertools.count(1)
        self._services = {
            spec.name: ServiceState(spec=spec, history=[spec.initial], replicas=spec.replicas)
            for spec in SERVICES.values()
        }
        self.bank: Instance | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def services(self) -> list[ServiceState]:
        """All services."""
        return list(self._services.values())

    def service(self, name: str) -> ServiceState:
        """One service.

        Raises:
            Unknown: there is none of that name.
        """
        if name == BANK:
            raise Unknown("the bank is a third party: it cannot be changed from here")
        if name not in self._services:
            raise Unknown(f"no service {name[:80]!r}; there are {', '.join(self._services)}")
        return self._services[name]

    async def start(self) -> None:
        """Start everything at once.

        Raises:
            NotReady: a process does not come up.
        """
        starts = [self._spawn(state, state.version) for state in self.services() for _ in range(state.replicas)]
        bank = Launch(service=BANK, version="1", instance=BANK, directory=self._directory, parent_pid=os.getpid())
        self.bank, *instances = await asyncio.gather(start_instance(bank, within_s=_READY_WITHIN_S), *starts)
        for instance in instances:
            self._services[instance.launch.service].instances.append(instance)
        self._publish()

    async def close(self) -> None:
        """End everything, hung or not."""
        self._closing = True
        running = [instance for state in self.services() for instance in state.instances]
        if self.bank is not None:
            running.append(self.bank)
        await asyncio.gather(*(end_instance(instance) for instance in running))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def switch_version(self, state: ServiceState, version: str, *, source: Path | None = None) -> None:
        """Replace all instances by ones of `version`; the caller holds `changing` and keeps the history.

        Args:
            state: The service.
            version: What shall be live.
            source: Folder of a version that is not known yet; it is known from now on.
        Raises:
            NotReady: the new version does not come up; the old one stays, and the new one stays unknown.
        """
        unknown = source is not None and version not in state.sources
        if source is not None:
            state.sources[version] = source
        try:
            new = await self._spawn_many(state, version, state.replicas)
        except BaseException:
            if unknown:
                del state.sources[version]
            raise
        self._swap(state, old=list(state.instances), new=new)

    async def replace(self, state: ServiceState, instances: Sequence[Instance]) -> None:
        """Restart instances: fresh ones first, then the old ones end.

        Raises:
            NotReady: the fresh ones do not come up; the old ones stay.
        """
        new = await self._spawn_many(state, state.version, len(instances))
        self._swap(state, old=instances, new=new)

    async def scale(self, state: ServiceState, replicas: int) -> None:
        """Run `replicas` instances; the youngest end first.

        Raises:
            NotAccepted: too few or too many.
            NotReady: a new one does not come up.
        """
        check_replicas(replicas)
        missing = replicas - len(state.instances)
        new = await self._spawn_many(state, state.version, missing) if missing > 0 else []
        state.replicas = replicas
        self._swap(state, old=state.instances[replicas:], new=new)

    async def _spawn_many(self, state: ServiceState, version: str, count: int) -> list[Instance]:
        outcomes = await asyncio.gather(*(self._spawn(state, version) for _ in range(count)), return_exceptions=True)
        started = [outcome for outcome in outcomes if isinstance(outcome, Instance)]
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            await asyncio.gather(*(end_instance(instance) for instance in started))
            raise failures[0]
        return started

    async def _spawn(self, state: ServiceState, version: str) -> Instance:
        launch = Launch(
            service=state.spec.name,
            version=version,
            instance=f"{state.spec.name}-{next(self._number)}",
            directory=self._directory,
            parent_pid=os.getpid(),
        )
        source = state.sources.get(version, OWN_SOURCE)
        instance = await start_instance(launch, within_s=_READY_WITHIN_S, source=source)
        self._in_background(self._watch(state, instance))
        return instance

    def _swap(self, state: ServiceState, *, old: Sequence[Instance], new: Sequence[Instance]) -> None:
        state.instances = [instance for instance in state.instances if instance not in old] + list(new)
        self._publish()
        for instance in old:
            instance.ending = True
            self._in_background(_drain(instance))

    def _publish(self) -> None:
        endpoints = {name: [instance.url for instance in state.instances] for name, state in self._services.items()}
        if self.bank is not None:
            endpoints[BANK] = [self.bank.url]
        replace_json(self._directory / ENDPOINTS_FILE, endpoints)

    async def _watch(self, state: ServiceState, instance: Instance) -> None:
        """Replace an instance that ends by accident, as every deployment system does."""
        await instance.process.wait()
        while not (instance.ending or self._closing):
            logger.error("%s ended with %s", instance.launch.instance, instance.process.returncode)
            await asyncio.sleep(_RESPAWN_PAUSE_S)
            async with state.changing:
                if self._closing or instance not in state.instances:
                    return
                try:
                    await self.replace(state, [instance])
                except NotReady as error:
                    logger.error("%s", error)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def check_replicas(replicas: int) -> None:
    """Refuse a number of replicas that this shop does not run.

    Raises:
        NotAccepted: it is not between 1 and the maximum.
    """
    if not 1 <= replicas <= MAX_REPLICAS:
        raise NotAccepted(f"replicas must be between 1 and {MAX_REPLICAS}")


async def _drain(instance: Instance) -> None:
    await asyncio.sleep(_DRAIN_S)
    await end_instance(instance)
