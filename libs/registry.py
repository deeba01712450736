"""A registry: things found by name, one per file of a package; a new one is a new file."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Generic, TypeVar

from libs.errors import ConfigurationError, NotFound

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name.

    Args:
        kind: What they are, for error texts ("detector").
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files a thing under a name.

        Raises:
            ConfigurationError: the name is taken.
        """

        def file(entry: T) -> T:
            if self._entries.get(name, entry) is not entry:
                raise ConfigurationError(f"two entries are called {self._kind} {name!r}")
            self._entries[name] = entry
            return entry

        return file

    def load(self, package: ModuleType) -> None:
        """Import every module of a package, so that each can register what it holds."""
        for module in sorted(found.name for found in pkgutil.iter_modules(package.__path__)):
            importlib.import_module(f"{package.__name__}.{module}")

    def get(self, name: str) -> T:
        """The thing of a name; `NotFound` lists those that exist."""
        try:
            return self._entries[name]
        except KeyError:
            raise NotFound(f"no {self._kind} {name!r}; there are {', '.join(self.names())}") from None

    def names(self) -> tuple[str, ...]:
        """Names in alphabetical order."""
        return tuple(sorted(self._entries))

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter(sorted(self._entries.items(), key=lambda item: item[0]))

    def __len__(self) -> int:
        return len(self._entries)
