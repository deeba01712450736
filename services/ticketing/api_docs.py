"""The page /docs: the OpenAPI description as one static page, readable without JavaScript and without a CDN."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "code{background:#f2f2f2;padding:.1em .3em;border-radius:3px;overflow-wrap:anywhere}"
    "section{border-top:1px solid #ccc;padding:.5rem 0}table{border-collapse:collapse;display:block;overflow-x:auto}"
    "td,th{text-align:left;padding:.15rem 1rem .15rem 0;vertical-align:top}"
    "@media(prefers-color-scheme:dark){body{background:#161616;color:#eee}code{background:#2a2a2a}a{color:#8bf}}"
)


def page(openapi: Mapping[str, Any]) -> str:
    """Render an OpenAPI document as HTML."""
    info = openapi["info"]
    body = "".join(
        _operation(method, path, operation)
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style>'
        f"<h1>{escape(info['title'])}</h1><p>{escape(info.get('description', ''))}</p>"
        f'<p>Machine-readable: <a href="/openapi.json">/openapi.json</a></p>{body}</html>'
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = "".join(_parameters(operation))
    table = f"<table><tr><th>Parameter<th>In<th>Meaning</tr>{rows}</table>" if rows else ""
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    body = f"<p>Body: {_type(schema)}</p>" if schema else ""
    answers = ", ".join(
        f"<code>{escape(status)}</code> {escape(answer.get('description', ''))}"
        for status, answer in operation.get("responses", {}).items()
    )
    return (
        f"<section><h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
        f"<p>{escape(operation.get('summary', ''))}</p>{table}{body}<p>Answers: {answers}</p></section>"
    )


def _parameters(operation: Mapping[str, Any]) -> Iterator[str]:
    for parameter in operation.get("parameters", ()):
        yield (
            f"<tr><td><code>{escape(parameter['name'])}</code><td>{escape(parameter['in'])}"
            f"<td>{_type(parameter.get('schema', {}))} {escape(parameter.get('description', ''))}</tr>"
        )


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return f"<code>{escape(str(schema['$ref']).rsplit('/', 1)[-1])}</code>"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return "list of " + _type(schema.get("items", {}))
    return f"<code>{escape(str(schema.get('type', 'any')))}</code>"
