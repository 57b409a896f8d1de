"""The OpenAPI document as an HTML page: GET /docs.

It needs no script and nothing from elsewhere, and its links are relative, so that it works offline,
under a strict content security policy and behind a proxy that adds a prefix.
"""

import json
import re
from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from typing import Any

_SCHEMAS = "#/components/schemas/"
_JSON = "application/json"
_FORM = "multipart/form-data"
_PAGE = """\
<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>{title} reference</title>
    <link rel="icon" href="playground/icon.svg">
    <link rel="stylesheet" href="playground/page.css">
    <link rel="stylesheet" href="playground/reference.css">
  </head>
  <body>
    <a class="skip" href="#content">To the content</a>
    <header class="masthead">
      <h1>{title} reference</h1>
      <p class="served">{summary} Version {version}.</p>
      <nav aria-label="Elsewhere in this service">
        <a href="./">Playground</a>
        <a href="openapi.json">openapi.json</a>
      </nav>
    </header>
    <div class="desk">
      <nav class="contents" aria-label="On this page"><ul>{contents}</ul></nav>
      <main id="content">
        <section>{description}
          <p>In the examples <code>$ADDRESS</code> is where this service is: what stands before
          <code>/docs</code> in this page's address.</p>
          <pre tabindex="0">export ADDRESS=http://127.0.0.1:8080</pre>
        </section>
        {operations}
        <h2 id="objects">Objects</h2>
        {objects}
      </main>
    </div>
  </body>
</html>
"""


def page(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document."""
    info, schemas = document["info"], document["components"]["schemas"]
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    links = [(_anchor(*each[:2]), f"{each[0].upper()} {each[1]}") for each in operations]
    links.append(("objects", "Objects"))
    return _PAGE.format(
        title=escape(info["title"]),
        summary=_inline(info["summary"]),
        version=escape(info["version"]),
        contents="".join(f'<li><a href="#{to}">{escape(text)}</a></li>' for to, text in links),
        description=_paragraphs(info.get("description", "")),
        operations="\n".join(_operation(*each, schemas) for each in operations),
        objects="\n".join(_object(name, schema) for name, schema in schemas.items()),
    )


def _operation(
    method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]
) -> str:
    anchor = _anchor(method, path)
    parts = [
        f'<section aria-labelledby="{anchor}">',
        f'<h2 id="{anchor}"><span class="method">{method.upper()}</span> {_code(path)}</h2>',
        _paragraphs(operation.get("description", "")),
    ]
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        name = next(iter(body.values()))["schema"]["$ref"].removeprefix(_SCHEMAS)
        parts += [f"<h3>RequestBody: {_link(name)}</h3>", _fields(schemas[name])]
    for kind, content in body.items():
        parts.append(_example(method, path, kind, content["example"]))
    parts += ["<h3>Answers</h3>", _answers(operation["responses"]), "</section>"]
    return "\n".join(filter(None, parts))


def _example(method: str, path: str, kind: str, example: Any) -> str:
    """A command for a POSIX shell."""
    if kind == _FORM:
        command = f"curl $ADDRESS{path}"
        command += "".join(f" -F '{name}={value}'" for name, value in example.items())
        return f'<pre tabindex="0" aria-label="Example in {kind}">{escape(command)}</pre>'
    text = (
        example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
    )
    quoted = text.replace("'", "'\\''")  # inside '...' a shell changes nothing else
    address = path.replace("{name}", "quintet-mini")
    command = f"curl -X {method.upper()} $ADDRESS{address} -H 'Content-Type: {kind}'"
    command += f" --data-binary '{quoted}'"
    return f'<pre tabindex="0" aria-label="Example in {kind}">{escape(command)}</pre>'


def _answers(responses: Mapping[str, Any]) -> str:
    rows = []
    for status, response in responses.items():
        schema = response.get("content", {}).get(_JSON, {}).get("schema", {})
        meaning = _inline(response["description"])
        if meaning == HTTPStatus(int(status)).phrase:  # FastAPI's default description
            meaning = ""
        body = f" {_type(schema)}" if schema else ""
        headers = "".join(
            f"<dd>{_code(name)}: {_inline(header['description'])}</dd>"
            for name, header in response.get("headers", {}).items()
        )
        rows.append(f"<dt>{status}{body}</dt><dd>{meaning}</dd>{headers}")
    return f'<dl class="fields">{"".join(rows)}</dl>'


def _object(name: str, schema: Mapping[str, Any]) -> str:
    return (
        f'<section aria-labelledby="{name}"><h3 id="{name}">{_code(name)}</h3>'
        f"{_paragraphs(schema.get('description', ''))}{_fields(schema)}</section>"
    )


def _fields(schema: Mapping[str, Any]) -> str:
    rows = []
    for name, field in schema["properties"].items():
        required = name in schema.get("required", ())
        default = field.get("default")
        facts = [_type(field)]
        if required:
            facts.append("required")
        elif default not in (None, {}):
            facts.append(f"default {_code(json.dumps(default))}")
        about = _inline(field.get("description", ""))
        rows.append(f"<dt>{_code(name)} <span>{', '.join(facts)}</span></dt><dd>{about}</dd>")
    return f'<dl class="fields">{"".join(rows)}</dl>'


def _type(schema: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        return _link(schema["$ref"].removeprefix(_SCHEMAS))
    for one_of in ("enum", "const"):
        if one_of in schema:
            values = schema[one_of] if one_of == "enum" else [schema[one_of]]
            return " or ".join(_code(json.dumps(value)) for value in values)
    if "anyOf" in schema:
        kinds = [_type(kind) for kind in schema["anyOf"] if kind.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and "properties" in schema:
        return f"object with {' and '.join(map(_code, schema['properties']))}"
    return escape(schema.get("type", "any value"))


def _link(name: str) -> str:
    return f'<a href="#{escape(name)}">{_code(name)}</a>'


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _inline(text: str) -> str:
    """Text in which `code` is marked."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n") if part)


def _anchor(method: str, path: str) -> str:
    return "-".join([method, *re.findall(r"\w+", path)])
