"""Policy files: every fault with its line, narrow YAML, and the schema of the words."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from guard.policy import Policy, parse
from guard.policy_words import POLICY, Mapping, Several
from guard.shell.placed_yaml import DEEPEST, Place
from guard.shell.placed_yaml import read as read_yaml
from guard.shell.policy_file import (
    LARGEST_BYTES,
    PolicyFaults,
    json_schema,
    load,
    read,
)

DEFAULT = files("guard.shell").joinpath("policies/default.yaml")
PAGE = Path(__file__).parents[2] / "docs" / "policy.md"
SHORT = """\
version: 1
name: shop
metrics:
  error_ratio:
    limits:
      - {severity: critical, above: 2 %, sustain: 30 s, action: rollback}
"""

SEVEN = """\
# Seven mistakes, and what is right between them.
version: 1
name: shop
windw: 60 s
least_requests: 0
metrics:
  error_ratio:
    target: 0.1 %
    limits:
      - {severity: warnin, above: 0.2 %, action: hold}
      - severity: critical
        above: 0.5
        action: rollback
      - {severity: critical, above: 5, action: rollback}
  latency_p95:
    limits:
      - {severity: warning, above: 300, action: hold}
      - {severity: critical, above: 500 ms, action: hold, action: rollback}
  success_ratio:
    limits:
      - {severity: warning, below: 99 %, action: hold}
      - {severity: critical, below: 99.5 %, action: rollback}
"""
SEVEN_FAULTS = """\
shop.yaml:4:1: unknown word "windw" (did you mean "window"?)
shop.yaml:5:17: must be from 1 to 1e+09, is 0
shop.yaml:10:20: must be one of warning, critical, immediate, is "warnin" \
(did you mean "warning"?)
shop.yaml:14:37: must be from 0 % to 100 %, is 5
shop.yaml:17:36: needs a unit, such as 300 ms, is 300
shop.yaml:18:59: the key "action" is here twice, first in line 18
shop.yaml:21:9: can never come before the graver limits[1], critical: below 99.5 % at \
once, rollback"""


def faults_of(text):
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(PolicyFaults) as caught:
        read(data, file="shop.yaml")
    assert len(caught.value.faults) == len(str(caught.value).splitlines())
    return str(caught.value)


def test_the_default_is_shipped_and_loads():
    """None is the deployment guide's policy."""
    policy = load()
    assert policy.name == "deployment-guide"
    assert policy == load(None)
    assert policy == read(DEFAULT.read_bytes(), file="copy.yaml")


def test_a_file_loads(tmp_path):
    """By its path; a byte order mark does no harm."""
    path = tmp_path / "shop.yaml"
    path.write_text("\ufeff" + SHORT, encoding="utf-8")
    policy = load(path)
    assert policy == Policy(name="shop", metrics=policy.metrics)
    assert policy == load(str(path))


def test_every_fault_is_listed_with_its_line():
    """Seven mistakes, seven lines, in the order of the file."""
    assert faults_of(SEVEN) == SEVEN_FAULTS


def test_what_is_lacking_is_told_where_it_lacks():
    """At the mapping that should hold it."""
    text = SHORT.replace("severity: critical, ", "")
    assert faults_of(text) == 'shop.yaml:6:9: lacks "severity"'


YAML_FAULTS = [
    ("name: [shop", "shop.yaml:1:12: expected ',' or ']', but got"),
    ("name: a: b", "shop.yaml:1:8: mapping values are not allowed here"),
    ("\tname: x", "shop.yaml:1:1: found character '\\t' that cannot start any token"),
    ("name: \x00", "shop.yaml:1:7: a control character is not allowed"),
    (SHORT + "---\na: 1\n", "shop.yaml:8:1: a second document is not allowed"),
    (
        SHORT.replace("shop", "!!python/object/apply:os.system [id]"),
        "shop.yaml:2:7: a tag (tag:yaml.org,2002:python/object/apply:os.system) is not",
    ),
    (SHORT.replace("shop", "&a shop"), "shop.yaml:2:7: an anchor (&a) is not allowed"),
    (SHORT.replace("shop", "*a"), "shop.yaml:2:7: an alias (*a) is not allowed"),
    (SHORT + "*a : 1\n", "shop.yaml:7:1: an alias (*a) is not allowed"),
    (SHORT + "!!str x: 1\n", "shop.yaml:7:1: a tag (tag:yaml.org,2002:str) is not all"),
    (SHORT + "? [a, {b: c}]\n: 1\n", "shop.yaml:7:3: a key must be a word"),
    (
        SHORT + "name: y\n",
        'shop.yaml:7:1: the key "name" is here twice, first in line 2',
    ),
    (SHORT + "name: {a: [1]}\n", 'shop.yaml:7:1: the key "name" is here twice'),
    (SHORT + "<<: {}\n", 'shop.yaml:7:1: unknown word "<<"'),
    (b"name: \xff", "shop.yaml:1:7: is not UTF-8"),
    (b"a: 1\nname: \xff", "shop.yaml:2:7: is not UTF-8"),
    ("", "shop.yaml: is empty"),
    ("# nothing\n\n  # at all\n", "shop.yaml: is empty"),
    ("---\n", "shop.yaml:2:1: must be a mapping, is nothing"),
    ("%YAML 1.2\n", "shop.yaml:2:1: expected '<document start>'"),
    ("# " + "x" * LARGEST_BYTES, f"shop.yaml: is larger than {LARGEST_BYTES} bytes"),
]


@pytest.mark.parametrize(("text", "fault"), YAML_FAULTS)
def test_what_no_policy_file_may_hold(text, fault):
    """One fault each, with its place."""
    found = faults_of(text)
    assert found.startswith(fault)
    assert "\n" not in found


def test_all_that_is_refused_at_one_place_is_said():
    """An anchor and a tag; and the key is read all the same."""
    assert faults_of(SHORT.replace("name", "&a !!str name")).splitlines() == [
        "shop.yaml:2:1: an anchor (&a) is not allowed",
        "shop.yaml:2:1: a tag (tag:yaml.org,2002:str) is not allowed",
    ]


def test_a_column_counts_characters():
    """Also where bytes are what is wrong."""
    assert faults_of("a: 1\nü: ".encode() + b"\xff") == "shop.yaml:2:4: is not UTF-8"


def test_nesting_is_bounded():
    """A file of brackets cannot exhaust the stack."""
    found = faults_of("a: " + "[" * 100)
    assert f"shop.yaml:1:{3 + DEEPEST}: is nested deeper than {DEEPEST}" in found


def test_an_alias_cannot_blow_up():
    """It is refused where it stands, and never followed."""
    text = "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    placed = read_yaml(text)
    assert placed.data == {"a": ["x"], "b": [None, None], "c": [None, None]}
    assert [place.line for place, _ in placed.faults] == [1, 2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("-12", -12),
        ("0777", 777),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("9" * 30, float("9" * 30)),
        ("-.inf", float("-inf")),
        ("0.5 %", "0.5 %"),
    ],
)
def test_scalars_are_those_of_the_core_schema(text, value):
    """What looks like a word is one."""
    data = read_yaml(f"a: {text}").data
    assert data == {"a": value}
    assert type(data["a"]) is type(value)


def test_not_a_number_is_read_as_such():
    """So that it is named in a fault, not passed on as text."""
    assert repr(read_yaml("a: .nan").data) == "{'a': nan}"


def test_places_count_from_one():
    """As editors do."""
    placed = read_yaml("a:\n  - b\n  - {c: d}\n")
    assert placed.keys["a", 1, "c"] == Place(3, 6)
    assert placed.values["a", 1, "c"] == Place(3, 9)


def test_a_file_that_cannot_be_read(tmp_path):
    """Its name and the system's reason, nothing else."""
    missing = tmp_path / "shop.yaml"
    with pytest.raises(PolicyFaults) as caught:
        load(missing)
    assert str(caught.value) == f"{missing}: cannot be read: No such file or directory"
    with pytest.raises(PolicyFaults, match="cannot be read: Is a directory"):
        load(tmp_path)
    with pytest.raises(PolicyFaults, match="cannot be read: embedded null byte"):
        load("a\0b")


TYPES = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
}


def errors(schema, value):
    """As much of JSON Schema as the policy's uses; an unknown keyword fails."""
    for keyword, rule in schema.items():
        if keyword not in SAID and not KEYWORDS[keyword](value, rule):
            yield keyword, rule
    yield from errors_within(schema, value)


def errors_within(schema, value):
    if isinstance(value, list):
        for item in value:
            yield from errors(schema["items"], item)
    if isinstance(value, dict):
        assert schema["additionalProperties"] is False
        for key, item in value.items():
            known = schema["properties"].get(key)
            yield from errors(known, item) if known else [("unknown", key)]


def when(kind, rule):
    return lambda value, limit: not isinstance(value, kind) or rule(value, limit)


def count_of(value, choices):
    return sum(not [*errors_of(choice, value)] for choice in choices)


def errors_of(choice, value):
    # A choice of required keys says nothing of what they hold.
    if set(choice) == {"required"}:
        return [] if KEYWORDS["required"](value, choice["required"]) else [choice]
    return errors(choice, value)


SAID = {
    "$schema",
    "title",
    "description",
    "default",
    "examples",
    "items",
    "properties",
    "additionalProperties",
}
KEYWORDS = {
    "type": lambda v, kind: isinstance(v, TYPES[kind]),
    "minimum": when((int, float), lambda v, low: v >= low),
    "maximum": when((int, float), lambda v, high: v <= high),
    "minLength": when(str, lambda v, low: len(v) >= low),
    "maxLength": when(str, lambda v, high: len(v) <= high),
    "pattern": when(str, lambda v, rule: re.search(rule, v)),
    "enum": lambda v, words: v in words,
    "required": when(dict, lambda v, words: set(words) <= set(v)),
    "minProperties": when(dict, lambda v, low: len(v) >= low),
    "minItems": when(list, lambda v, low: len(v) >= low),
    "maxItems": when(list, lambda v, high: len(v) <= high),
    "uniqueItems": when(list, lambda v, _: len(set(v)) == len(v)),
    "anyOf": lambda v, choices: count_of(v, choices) > 0,
    "oneOf": lambda v, choices: count_of(v, choices) == 1,
}


def test_the_default_is_valid_by_the_schema():
    """What an editor says of it, and the guard, agree."""
    data = yaml.safe_load(DEFAULT.read_bytes())
    assert list(errors(json_schema(), data)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("name: shop", "nam: shop"),
        ("above: 2 %", "above: 2"),
        ("above: 2 %", "above: 2 ms"),
        ("above: 2 %", "below: 2 %"),
        ("above: 2 %", "above: 2 %, above_baseline: {times: 2}"),
        ("severity: critical, ", ""),
        ("action: rollback", "action: clear"),
        ("action: rollback", "action: hold, stages: [canary, canary]"),
        ("action: rollback", "action: hold, in_stage: {}"),
    ],
)
def test_the_schema_refuses_what_the_parser_refuses(old, new):
    """The same words, the same types."""
    data = yaml.safe_load(SHORT.replace(old, new))
    assert parse(data)[1]
    assert list(errors(json_schema(), data))


def words_of(shape, path=()):
    if isinstance(shape, Mapping):
        for key in shape.keys:
            yield (*path, key.word)
            yield from words_of(key.shape, (*path, key.word))
    elif isinstance(shape, Several):
        yield from words_of(shape.item, path)


def properties_of(schema, path=()):
    for word, inner in schema.get("properties", {}).items():
        yield (*path, word)
        yield from properties_of(inner, (*path, word))
    if "items" in schema:
        yield from properties_of(schema["items"], path)


def test_the_schema_has_every_word_and_no_other():
    """At every depth."""
    assert list(properties_of(json_schema())) == list(words_of(POLICY))


def test_the_schema_says_what_applies_when_a_key_is_absent():
    """The struct's own defaults, in the unit a bare number has."""
    root = json_schema()["properties"]
    assert root["window"]["default"] == 60
    assert root["late_share_limit"]["default"] == 0.01
    assert root["watch"]["default"] == ("adwin", "page_hinkley")
    assert "default" not in root["name"]
    metric = root["metrics"]["properties"]["error_ratio"]["properties"]
    assert "default" not in metric["window"]
    limit = metric["limits"]["items"]["properties"]
    assert limit["sustain"]["default"] == 0


def test_the_page_names_every_word():
    """A word that is not explained is not there for the reader."""
    page = PAGE.read_text("utf-8")
    lacking = {path[-1] for path in words_of(POLICY) if f"`{path[-1]}`" not in page}
    assert lacking == set()


def test_the_policies_on_the_page_have_no_fault():
    """An example is copied before it is read."""
    page = PAGE.read_text("utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert examples
    for example in examples:
        read(example.encode(), file="docs/policy.md")


def test_the_pages_table_of_defaults_is_true():
    """Each default in the first table, read as the policy reads it, changes nothing."""
    page = PAGE.read_text("utf-8")
    table = page.split("## The policy")[1].split("##")[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| `([^|]+)` \|", table, re.MULTILINE)
    assert len(rows) == len(POLICY.keys) - 4  # version, name, metrics, weight: none
    text = SHORT + "".join(f"{word}: {default}\n" for word, default in rows)
    assert read(text.encode(), file="x") == read(SHORT.encode(), file="x")
