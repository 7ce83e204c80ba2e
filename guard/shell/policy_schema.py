"""The JSON Schema of a policy file, made from the same words that the parser reads by.

It says what an editor can show while one writes: words, types, units. Ranges of
quantities with a unit, and contradictions, are for ``guard check-policy``.
"""

from typing import Any, assert_never

import msgspec

from guard import policy_words as words
from guard.policy import Limit, Policy
from guard.policy_words import Key, Shape

Schema = dict[str, Any]


def json_schema() -> Schema:
    """Return the JSON Schema (2020-12) of a policy file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rollback-guard policy",
        **_schema(words.POLICY),
    }


def _schema(shape: Shape) -> Schema:
    match shape:
        case words.Mapping():
            return _mapping(shape)
        case words.Several():
            return _list(shape)
        case words.Amount():
            return _amount(shape)
        case words.Number():
            kind = "integer" if shape.is_whole else "number"
            return {"type": kind, "minimum": shape.low, "maximum": shape.high}
        case _:
            return _word(shape)


def _word(shape: words.Text | words.Flag | words.Word) -> Schema:
    match shape:
        case words.Text():
            return {"type": "string", "minLength": 1, "maxLength": shape.longest}
        case words.Flag():
            return {"type": "boolean"}
        case words.Word():
            return {"enum": list(shape.words)}
        case _:
            assert_never(shape)


def _amount(shape: words.Amount) -> Schema:
    with_unit: Schema = {
        "type": "string",
        "pattern": shape.scale.pattern,
        "examples": [shape.scale.example],
    }
    if not shape.scale.is_bare_known:
        return with_unit
    kind = "integer" if shape.is_whole else "number"
    bare = {"type": kind, "minimum": shape.low, "maximum": shape.high}
    return {"anyOf": [with_unit, bare]}


def _list(shape: words.Several) -> Schema:
    schema: Schema = {
        "type": "array",
        "items": _schema(shape.item),
        "minItems": shape.least,
        "maxItems": shape.most,
    }
    return schema | (
        {"uniqueItems": True} if isinstance(shape.item, words.Word) else {}
    )


def _mapping(shape: words.Mapping) -> Schema:
    # A metric's keys have no default of their own: the policy's apply.
    defaults = _defaults(Policy if shape is words.POLICY else Limit)
    schema: Schema = {
        "type": "object",
        "properties": {key.word: _key(key, defaults) for key in shape.keys},
        "additionalProperties": False,
    }
    if required := [key.word for key in shape.keys if key.is_required]:
        schema["required"] = required
    if shape.is_filled:
        schema["minProperties"] = 1
    if shape.one_of:
        schema["oneOf"] = [{"required": [word]} for word in shape.one_of]
    return schema


def _key(key: Key, defaults: Schema) -> Schema:
    schema = _schema(key.shape) | {"description": key.says}
    if key.field in defaults and not key.is_required:
        schema["default"] = defaults[key.field]
    return schema


def _defaults(struct: type[msgspec.Struct]) -> Schema:
    """Return what applies when a key is absent, by the name of the field."""
    return {
        field.name: msgspec.to_builtins(field.default)
        for field in msgspec.structs.fields(struct)
        if field.default not in (msgspec.NODEFAULT, None, ())
    }
