"""What the control API can do: plan it, do it, announce it. Asking for what is already so changes nothing."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from examples.shop.changes import Change, ChangeFeed
from examples.shop.fleet import Conflict, Fleet, NotAccepted, ServiceState, Unknown, check_replicas
from examples.shop.release_folder import ReleaseFolder
from examples.shop.releases import FLAGS
from examples.shop.schema import has_schema
from examples.shop.state_files import FLAGS_FILE, replace_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done, or would be.

    Attributes:
        changed: Whether anything is different now (or would be).
        plan: The steps, for people.
        state: The service or flag afterwards (or as it is, in a dry run).
    """

    changed: bool
    plan: tuple[str, ...]
    state: Mapping[str, object] = field(default_factory=dict)


class Operations:
    """Changes of the shop, one per service at a time.

    Every method raises Unknown, Conflict, NotAccepted or NotReady, and takes who asked and whether to only plan.
    """

    def __init__(self, fleet: Fleet, feed: ChangeFeed, directory: Path, releases: ReleaseFolder) -> None:
        self._fleet = fleet
        self._feed = feed
        self._releases = releases
        self._flags = dict.fromkeys(FLAGS, False)
        self._flags_path = directory / FLAGS_FILE
        replace_json(self._flags_path, self._flags)

    async def deploy(self, name: str, version: str, *, source: str | None = None, actor: str, dry_run: bool) -> Outcome:
        """Make `version` the live version of a service; with a `source`, one that is built from that folder."""
        state = self._fleet.service(name)
        async with _held(state):
            folder = None if source is None else self._releases.checked(state, version, source)
            if folder is None and version not in state.versions:
                raise NotAccepted(f"{name} has no version {version[:40]!r}; there are {', '.join(state.versions)}")
            if version == state.version:
                return Outcome(changed=False, plan=(), state=state.as_json())
            plan = (*_schema_plan(name, folder), *_swap_plan(state, version))
            if dry_run:
                return Outcome(changed=True, plan=plan, state=state.as_json())
            previous = state.version
            if folder is None:
                await self._fleet.switch_version(state, version)
            else:
                await self._releases.bring_up_database(name, folder)
                await self._fleet.switch_version(state, version, source=folder)
            state.history.append(version)
            notes = _notes(state, version)
            self._feed.announce(
                Change(
                    kind="deploy",
                    service=name,
                    summary=f"{name} {version} deployed: {notes}",
                    actor=actor,
                    version=version,
                    previous_version=previous,
                    attributes={"operation": "deploy", "replicas": str(state.replicas)},
                )
            )
            return Outcome(changed=True, plan=plan, state=state.as_json())

    async def roll_back(self, name: str, *, actor: str, dry_run: bool) -> Outcome:
        """Go back to the version before the live one."""
        state = self._fleet.service(name)
        async with _held(state):
            target = state.previous_version
            if target is None:
                raise Conflict(f"{name} {state.version} has no previous version to go back to")
            plan = _swap_plan(state, target)
            if dry_run:
                return Outcome(changed=True, plan=plan, state=state.as_json())
            left = state.version
            await self._fleet.switch_version(state, target)
            state.history.pop()
            self._feed.announce(
                Change(
                    kind="deploy",
                    service=name,
                    summary=f"{name} rolled back from {left} to {target}",
                    actor=actor,
                    version=target,
                    previous_version=left,
                    attributes={"operation": "rollback", "replicas": str(state.replicas)},
                )
            )
            return Outcome(changed=True, plan=plan, state=state.as_json())

    async def restart(self, name: str, instance_id: str | None, *, actor: str, dry_run: bool) -> Outcome:
        """Replace one instance, or all, by fresh ones of the same version."""
        state = self._fleet.service(name)
        async with _held(state):
            chosen = [one for one in state.instances if instance_id in (None, one.launch.instance)]
            if not chosen:
                known = ", ".join(one.launch.instance for one in state.instances)
                raise Unknown(f"{name} has no instance {str(instance_id)[:80]!r}; there are {known}")
            plan = (
                f"start {len(chosen)} fresh instance(s) of {name} {state.version}",
                *(f"drain and end {one.launch.instance}" for one in chosen),
            )
            if dry_run:
                return Outcome(changed=True, plan=plan, state=state.as_json())
            await self._fleet.replace(state, chosen)
            names = ",".join(one.launch.instance for one in chosen)
            self._feed.announce(
                Change(
                    kind="config",
                    service=name,
                    summary=f"{name} restarted: {names}",
                    actor=actor,
                    version=state.version,
                    attributes={"operation": "restart", "instances": names},
                )
            )
            return Outcome(changed=True, plan=plan, state=state.as_json())

    async def scale(self, name: str, replicas: int, *, actor: str, dry_run: bool) -> Outcome:
        """Run a number of instances."""
        state = self._fleet.service(name)
        check_replicas(replicas)
        async with _held(state):
            before = state.replicas
            if replicas == before:
                return Outcome(changed=False, plan=(), state=state.as_json())
            plan = (f"{name}: from {before} to {replicas} instances of {state.version}",)
            if dry_run:
                return Outcome(changed=True, plan=plan, state=state.as_json())
            await self._fleet.scale(state, replicas)
            self._feed.announce(
                Change(
                    kind="scale",
                    service=name,
                    summary=f"{name} scaled from {before} to {replicas}",
                    actor=actor,
                    version=state.version,
                    attributes={"operation": "scale", "from": str(before), "to": str(replicas)},
                )
            )
            return Outcome(changed=True, plan=plan, state=state.as_json())

    def flags(self) -> list[dict[str, object]]:
        """All flags."""
        return [self.flag(name) for name in FLAGS]

    def flag(self, name: str) -> dict[str, object]:
        """One flag."""
        if name not in FLAGS:
            raise Unknown(f"no flag {name[:80]!r}; there are {', '.join(FLAGS)}")
        spec = FLAGS[name]
        return {
            "name": name,
            "service": spec.service,
            "description": spec.description,
            "enabled": self._flags[name],
        }

    async def set_flag(self, name: str, *, enabled: bool, actor: str, dry_run: bool) -> Outcome:
        """Switch a flag; services see it at their next request."""
        before = self.flag(name)
        if before["enabled"] == enabled:
            return Outcome(changed=False, plan=(), state=before)
        plan = (f"flag {name} of {FLAGS[name].service}: {_on(not enabled)} -> {_on(enabled)}",)
        if dry_run:
            return Outcome(changed=True, plan=plan, state=before)
        self._flags[name] = enabled
        replace_json(self._flags_path, self._flags)
        self._feed.announce(
            Change(
                kind="flag",
                service=FLAGS[name].service,
                summary=f"flag {name} switched {_on(enabled)}",
                actor=actor,
                attributes={
                    "flag": name,
                    "enabled": str(enabled).lower(),
                    "previous": str(not enabled).lower(),
                },
            )
        )
        return Outcome(changed=True, plan=plan, state=self.flag(name))


def _held(state: ServiceState) -> asyncio.Lock:
    if state.changing.locked():
        raise Conflict(f"{state.spec.name} is being changed: ask again when that is done")
    return state.changing


def _schema_plan(name: str, folder: Path | None) -> tuple[str, ...]:
    return (
        () if folder is None or not has_schema(name) else (f"bring the database of {name} up to the folder's schema",)
    )


def _notes(state: ServiceState, version: str) -> str:
    """What a version's authors say has changed."""
    known = {release.version: release.notes for release in state.spec.releases}
    return known.get(version) or f"built from {state.sources[version].name}"


def _swap_plan(state: ServiceState, version: str) -> tuple[str, ...]:
    return (
        f"start {state.replicas} instance(s) of {state.spec.name} {version}",
        *(f"drain and end {one.launch.instance} ({one.launch.version})" for one in state.instances),
    )


def _on(enabled: bool) -> str:
    return "on" if enabled else "off"
