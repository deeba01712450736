"""Log lines to patterns: what a line says without its numbers, ids and paths.

Drain groups lines of one service and logger into templates; ids are derived from the first line of a pattern with its
variable parts masked, so that the same lines in the same order give the same ids in every process.
Bounds: 256 loggers, 100 patterns each, 64 words a line; the least recently seen go first.

Source: He, Zhu, Zheng and Lyu, "Drain: an online log parsing approach with fixed depth tree", ICWS 2017 (drain3).
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from drain3.drain import Drain, LogCluster

_NAMESPACE: Final = uuid.UUID("5f2f7c0e-7d0f-5f7e-9c36-2d5b8f2f7a11")
_MAX_LOGGERS: Final = 256
_MAX_PATTERNS: Final = 100
_MAX_WORDS: Final = 64
_MAX_CHARACTERS: Final = 2_000  # beyond it stands a payload or a stack trace, whose head says what happened
_SIMILARITY: Final = 0.5  # Drain's authors use 0.4..0.6; 0.4 merged "payment failed for" with "payment sent to"
_DEPTH: Final = 4
_MASKS: Final = (
    (re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>)]+", re.IGNORECASE), "<url>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?\b"), "<time>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<ip>"),
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), "<email>"),
    (re.compile(r"(?<![\w/])(?:/[\w.@%+~:=-]+){2,}/?"), "<path>"),
    (re.compile(r"\b[A-Za-z]+[_-](?=[A-Za-z0-9]*\d)[A-Za-z0-9]{1,}\b"), "<id>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{6,}\b"), "<hex>"),
    (re.compile(r"(?<![A-Za-z])[-+]?\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?"), "<n>"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A pattern of log lines.

    Attributes:
        id: Stable id of 16 hex digits, derived from service, logger and the first masked line.
        template: What the lines have in common so far, `<*>` for what varies.
    """

    id: str
    template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternState:
    """One learned pattern, for snapshots.

    Attributes:
        service: service.name.
        logger: Logger name.
        number: Drain's number of the pattern within its logger.
        id: Stable id.
        words: Template, word by word.
    """

    service: str
    logger: str
    number: int
    id: str
    words: tuple[str, ...]


def mask(body: str) -> str:
    """A line with ids, numbers, times, addresses and paths replaced by what they are; its first line only."""
    head, _, _ = body[:_MAX_CHARACTERS].strip().partition("\n")
    for expression, name in _MASKS:
        head = expression.sub(name, head)
    return " ".join(head.split()[:_MAX_WORDS])


class PatternMiner:
    """Learns the patterns of many services and loggers."""

    def __init__(self) -> None:
        self._miners: dict[tuple[str, str], _LoggerPatterns] = {}

    def pattern_of(self, service: str, logger: str, body: str) -> Pattern:
        """The pattern of a line, made when it is the first of its kind."""
        key = (service, logger)
        miner = self._miners.pop(key, None)
        if miner is None:
            miner = _LoggerPatterns(service, logger)
            if len(self._miners) >= _MAX_LOGGERS:
                del self._miners[next(iter(self._miners))]
        self._miners[key] = miner  # the last one is the most recently seen
        return miner.pattern_of(mask(body))

    def snapshot(self) -> list[PatternState]:
        """Every learned pattern; `restore` goes on from it."""
        return [state for miner in self._miners.values() for state in miner.snapshot()]

    @classmethod
    def restore(cls, states: Sequence[PatternState]) -> "PatternMiner":
        """A miner that knows the patterns of a snapshot."""
        miner = cls()
        for state in states:
            key = (state.service, state.logger)
            miner._miners.setdefault(key, _LoggerPatterns(*key)).add(state)
        return miner


class _LoggerPatterns:
    def __init__(self, service: str, logger: str) -> None:
        self._service, self._logger = service, logger
        self._drain: Any = Drain(depth=_DEPTH, sim_th=_SIMILARITY, max_clusters=_MAX_PATTERNS)
        self._ids: dict[int, str] = {}

    def pattern_of(self, masked: str) -> Pattern:
        cluster, change = self._drain.add_log_message(masked)
        number = cluster.cluster_id
        if change == "cluster_created":
            self._ids[number] = _pattern_id(self._service, self._logger, masked)
            if len(self._ids) > 2 * _MAX_PATTERNS:
                self._forget_evicted()
        return Pattern(id=self._ids[number], template=cluster.get_template())

    def _forget_evicted(self) -> None:
        self._ids = {number: kept for number, kept in self._ids.items() if number in self._drain.id_to_cluster}

    def snapshot(self) -> list[PatternState]:
        return [
            PatternState(
                service=self._service,
                logger=self._logger,
                number=cluster.cluster_id,
                id=self._ids[cluster.cluster_id],
                words=cluster.log_template_tokens,
            )
            for cluster in self._drain.clusters
        ]

    def add(self, state: PatternState) -> None:
        cluster = LogCluster(list(state.words), state.number)
        self._drain.id_to_cluster[state.number] = cluster
        self._drain.clusters_counter = max(self._drain.clusters_counter, state.number)
        self._drain.add_seq_to_prefix_tree(self._drain.root_node, cluster)
        self._ids[state.number] = state.id


def _pattern_id(service: str, logger: str, masked: str) -> str:
    return uuid.uuid5(_NAMESPACE, f"{service}\x00{logger}\x00{masked}").hex[:16]
