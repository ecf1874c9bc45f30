"""Documents against their schemas: every violation as a sentence, with a pointer to where it stands.

Decides what is wrong with the form of a document, and how to say so. The only door to jsonschema. Must not
know of files and YAML: a `Violation` holds a pointer, and the loader turns it into a place. What the texts in
a document may look like: `schemas.forms`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from schemas.files import schema_text
from schemas.forms import FORMS
from schemas.text import nearest

Written = Literal["topology", "inventory"]
Pointer = tuple[str | int, ...]

NOT_YET = "x-not-supported-yet"  # in a schema: keys or values that a later version will know
MAX_SHOWN = 60  # characters of an offending value in a message
MAX_ACCEPTED = 20  # keys or values listed in a hint

_TYPE_WORDS = {
    "string": "a text",
    "integer": "a whole number",
    "array": "a list",
    "object": "a mapping",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that the schema does not accept."""

    code: str
    pointer: Pointer
    message: str
    value: str = ""
    hint: str = ""
    on_key: bool = False  # the key itself is wrong, not what stands behind it
    wanted: tuple[str, ...] = ()  # schema types; only with code "wrong-type"
    suggestion: str = ""  # the known key that was likely meant; only with code "unknown-key"
    breadth: int = 0  # how many values would be accepted; only with code "unknown-value"


def violations(document: Any, name: Written) -> list[Violation]:
    """All that is wrong with a document; empty when it can be read as its type."""
    found = [
        violation for error in _validator(name).iter_errors(document) for violation in _violations_of(error)
    ]
    return _without_echoes(found)


@cache
def _validator(name: Written) -> Any:
    """The schema's validator, with our forms, and messages in place of `pattern` (which is for editors)."""
    types = Draft7Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    keywords = {"format": _check_form, "pattern": _ignore}
    validator: Any = extend(Draft7Validator, validators=keywords, type_checker=types)  # type: ignore[no-untyped-call]
    schema = json.loads(schema_text(name))
    return validator(_inlined(schema, schema.pop("definitions")))


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with what each `$ref` names in its place: none of ours recurs, and look-ups cost a third."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].removeprefix("#/definitions/")], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def _check_form(_validator: Any, form: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str):
        try:
            FORMS[form](value)
        except ValueError as error:
            yield ValidationError(str(error))


def _ignore(_validator: Any, _argument: Any, _value: Any, _schema: Any) -> None:
    return None


def _violations_of(error: ValidationError) -> Iterator[Violation]:
    pointer: Pointer = tuple(error.absolute_path)
    schema_path = error.absolute_schema_path
    if len(schema_path) > 1 and schema_path[-2] == "propertyNames":
        yield _key_violation(error, (*pointer, str(error.instance)))
    elif error.validator == "additionalProperties":
        yield from _unknown_keys(error, pointer)
    elif error.validator == "required":
        yield from _missing_keys(error, pointer)
    elif error.validator == "type":
        yield _wrong_type(error, pointer)
    elif error.validator == "enum":
        yield _unknown_value(error, pointer)
    elif error.validator == "format":
        yield Violation(
            f"bad-{error.validator_value}",
            pointer,
            f"{_is(pointer, error.instance)}",
            show(error.instance),
            error.message,
        )
    else:
        yield _out_of_bounds(error, pointer)


def _key_violation(error: ValidationError, pointer: Pointer) -> Violation:
    key = str(error.instance)
    if error.validator == "format":
        return Violation(
            f"bad-{error.validator_value}",
            pointer,
            f"{describe(pointer[:-1])} has the key {show(key)}",
            key,
            error.message,
            on_key=True,
        )
    hint = _description(error.schema)
    message = f"{describe(pointer)} doesn't belong to this shape"
    return Violation("misplaced-key", pointer, message, key, hint, on_key=True)


def _unknown_keys(error: ValidationError, pointer: Pointer) -> Iterator[Violation]:
    schema = _mapping(error.schema)
    known = list(_mapping(schema.get("properties", {})))
    later = schema.get(NOT_YET, [])
    for key in _mapping(error.instance):
        if key in known:
            continue
        where = describe((*pointer, key))
        if key in later:
            yield Violation(
                "not-supported-yet",
                (*pointer, key),
                f"{where} is not supported yet",
                key,
                "leave it out: it would have no effect",
                on_key=True,
            )
            continue
        owner = describe(pointer)
        close = nearest(key, known)
        yield Violation(
            "unknown-key",
            (*pointer, key),
            f"{owner} has no key {show(key)}",
            key,
            _accepted("keys", known, close),
            on_key=True,
            suggestion=close,
        )


def _missing_keys(error: ValidationError, pointer: Pointer) -> Iterator[Violation]:
    # jsonschema yields one error a key, and the key only in its text: the keys are told apart here
    required: Any = error.validator_value
    for key in required:
        if error.message.startswith(f"{key!r} is"):
            schema = _mapping(error.schema)
            # a shape's condition says in its description what the shape takes; it has no type of its own
            hint = f"it needs {', '.join(required)}" if "type" in schema else _description(schema)
            yield Violation("missing-key", pointer, f'{describe(pointer)} has no "{key}"', key, hint)


def _wrong_type(error: ValidationError, pointer: Pointer) -> Violation:
    wanted: Any = error.validator_value
    types = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    schema = _mapping(error.schema)
    examples = schema.get("examples", [])
    words = " or ".join(_TYPE_WORDS[each] for each in types)
    hint = f"write {words}"
    if examples:
        hint += f", such as {json.dumps(examples[0], ensure_ascii=False)}"
    elif types == ("object",) and "properties" in schema:
        hint += f" with the keys {', '.join(schema['properties'])}"
    return Violation(
        "wrong-type",
        pointer,
        f"{_is(pointer, error.instance)}, where {words} belongs",
        show(error.instance),
        hint,
        wanted=types,
    )


def _unknown_value(error: ValidationError, pointer: Pointer) -> Violation:
    listed: Any = error.validator_value
    values = [str(value) for value in listed]
    schema = _mapping(error.schema)
    if error.instance in schema.get(NOT_YET, []):
        return Violation(
            "not-supported-yet",
            pointer,
            f"{_is(pointer, error.instance)}, which is not supported yet",
            show(error.instance),
            _accepted("values", values, ""),
        )
    close = nearest(error.instance, values) if isinstance(error.instance, str) else ""
    return Violation(
        "unknown-value",
        pointer,
        _is(pointer, error.instance),
        show(error.instance),
        _accepted("values", values, close),
        breadth=len(values),
    )


def _out_of_bounds(error: ValidationError, pointer: Pointer) -> Violation:
    limit: Any = error.validator_value
    keys = ", ".join(_mapping(_mapping(error.schema).get("properties", {})))
    entries = "entry" if limit == 1 else "entries"
    texts = {
        "minimum": f"the smallest accepted is {limit}",
        "maximum": f"the largest accepted is {limit}",
        "minLength": "a text can't be empty here",
        "minItems": f"it needs at least {limit} {entries}",
        "maxItems": f"it takes at most {limit} {entries}",
        "minProperties": f"it needs {'one' if limit == 1 else limit} of {keys}",
        "maxProperties": f"it takes only {'one' if limit == 1 else limit} of {keys}",
    }
    hint = texts.get(str(error.validator), error.message)
    value: Any = error.instance
    if isinstance(value, list | dict) and value:
        each = "key" if isinstance(value, dict) else "entry"
        each = each if len(value) == 1 else {"key": "keys", "entry": "entries"}[each]
        return Violation("out-of-range", pointer, f"{describe(pointer)} has {len(value)} {each}", hint=hint)
    shown = "empty" if isinstance(value, list | dict) else show(value)
    return Violation("out-of-range", pointer, f"{describe(pointer)} is {shown}", shown, hint)


def _without_echoes(found: list[Violation]) -> list[Violation]:
    """Each fault said once: what follows from another violation at the same place is dropped."""
    strangers = {each.pointer for each in found if each.code in ("unknown-key", "not-supported-yet")}
    meant = {(*each.pointer[:-1], each.suggestion) for each in found if each.suggestion}
    mistyped = {each.pointer for each in found if each.code == "wrong-type"}
    narrowest: dict[Pointer, int] = {}
    for each in found:
        if each.code == "unknown-value":
            narrowest[each.pointer] = min(each.breadth, narrowest.get(each.pointer, each.breadth))
    parents = {pointer[:-1] for pointer in strangers}
    kept: dict[Violation, None] = {}
    for each in found:
        echo = (
            (each.code == "misplaced-key" and each.pointer in strangers)
            or (each.code == "missing-key" and (*each.pointer, each.value) in meant)
            or (each.code == "unknown-value" and each.pointer in mistyped)
            or (each.code == "unknown-value" and each.breadth > narrowest[each.pointer])
            or (each.code == "out-of-range" and each.pointer in parents)
        )
        if not echo:
            kept[each] = None
    return list(kept)


def describe(pointer: Pointer) -> str:
    """A pointer as people write it: `spec.graphs[2].shape`."""
    text = ""
    for step in pointer:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "").replace("-", "").isalnum():
            text += f".{step}"
        else:
            text += f"[{show(step)}]"
    return text.removeprefix(".") or "the document"


def show(value: Any) -> str:
    """A value as it stands in a message."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= MAX_SHOWN else f'"{value[:MAX_SHOWN]}…"'
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return str(value)


def _is(pointer: Pointer, value: Any) -> str:
    return f"{describe(pointer)} is {show(value)}"


def _accepted(what: str, known: list[str], close: str) -> str:
    listed = ", ".join(known[:MAX_ACCEPTED]) + (", …" if len(known) > MAX_ACCEPTED else "")
    return (f'did you mean "{close}"? ' if close else "") + f"accepted {what}: {listed}"


def _description(schema: Any) -> str:
    return str(_mapping(schema).get("description", "")).removesuffix(".")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
