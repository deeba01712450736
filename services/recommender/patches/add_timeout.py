"""A call gets a timeout: `timeout=None` gets a value, or a call of a library that has no default gets the argument."""

import re
from collections.abc import Iterator
from typing import Final

import libcst as cst

from services.recommender.patch import PATCHERS, Declined, Patch
from services.recommender.python_code import Code, Defined, function_at, parse_python
from services.recommender.rule import Finding
from services.recommender.source import Source

_KEYWORD: Final = re.compile(r"^(?:read_|total_|request_)?timeout(_s|_sec|_secs|_seconds|_ms)?$")
# Libraries that wait for ever unless told otherwise (requests: "by default, requests do not time out";
# urllib.request.urlopen and socket.create_connection: the global default, which is none).
_ENDLESS: Final = re.compile(
    r"^(?:requests\.(?:get|post|put|patch|delete|head|options|request)|(?:urllib\.request\.)?urlopen"
    r"|socket\.create_connection)$"
)


@PATCHERS.register("add_timeout")
def add_timeout(finding: Finding, source: Source) -> Patch | Declined:
    """Patch the call at a finding's line."""
    path = source.resolve(finding.place.path)
    text = source.read(path) if path else None
    code = parse_python(path, text) if text is not None else None
    if code is None:
        return Declined(why=f"{finding.place.path or 'the file'} was not found in the repository, or is not Python")
    function = function_at(code, finding.place)
    if function is None:
        return Declined(why=f"{finding.place.function} was not found in {path}")
    seconds = float(finding.hints["timeout_s"])
    statement = _statement_at(code, function, finding.place.line)
    for argument in _arguments(statement):
        keyword = _KEYWORD.match(argument.keyword.value) if argument.keyword else None
        if keyword and isinstance(argument.value, cst.Name) and argument.value.value == "None":
            value = f"{seconds * 1000:g}" if keyword.group(1) == "_ms" else _float_text(seconds)
            changed = code.module.deep_replace(argument.value, cst.parse_expression(value))
            return _patch(code, function, argument, cst.ensure_type(changed, cst.Module), finding.hints["timeout_s"])
        if keyword:
            return Declined(why=f"the code gives a timeout: {code.text(argument).strip().rstrip(',')}", refuted=True)
    for call in _calls(statement):
        if _ENDLESS.match(code.text(call.func)) and not any(one.star for one in call.args):
            value = _float_text(seconds)
            new = cst.Arg(
                keyword=cst.Name("timeout"),
                value=cst.parse_expression(value),
                equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")),
            )
            before = [
                one.with_changes(comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))) for one in call.args
            ]
            changed = code.module.deep_replace(call, call.with_changes(args=[*before, new]))
            return _patch(code, function, call, cst.ensure_type(changed, cst.Module), finding.hints["timeout_s"])
    return Declined(why="the code at the line does not say whether there is a timeout", refuted=finding.confidence == 0)


def _patch(code: Code, function: Defined, node: cst.CSTNode, module: cst.Module, seconds: str) -> Patch:
    return Patch(
        files={code.path: module.code},
        place=code.place(node, function.name),
        says=f"The call ends after {seconds} s at the latest. Review: does the caller handle the timeout's exception "
        "as it handles a failed call?",
        confidence=0.95,
    )


def _float_text(seconds: float) -> str:
    return f"{seconds:g}" if "." in f"{seconds:g}" else f"{seconds:g}.0"


def _statement_at(code: Code, function: Defined, line: int) -> cst.CSTNode:
    """The innermost statement that holds a line; the whole function when the line has moved."""
    best: cst.CSTNode = function.node
    waiting: list[cst.CSTNode] = [function.node.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, cst.SimpleStatementLine) and code.holds(node, line):
            best = node
        waiting.extend(node.children)
    return best


def _arguments(node: cst.CSTNode) -> Iterator[cst.Arg]:
    for call in _calls(node):
        yield from call.args


def _calls(node: cst.CSTNode) -> Iterator[cst.Call]:
    if isinstance(node, cst.Call):
        yield node
    for child in node.children:
        yield from _calls(child)
