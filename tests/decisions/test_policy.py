"""A policy from plain data: every fault, every contradiction, one meaning."""

import copy
import json
import math
import random
from importlib.resources import files

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guard.policy import Policy, fingerprint, parse
from guard.policy_words import METRICS, POLICY, Mapping, Several
from guard.verdict import Action, Severity

CRITICAL = {"severity": "critical", "above": "0.5 %", "action": "rollback"}
SLOW = CRITICAL | {"above": "500 ms"}
FEW = CRITICAL | {"below": "99.5 %"}
del FEW["above"]
DEFAULT_TEXT = files("guard.shell").joinpath("policies/default.yaml").read_text("utf-8")


DEFAULT = yaml.safe_load(DEFAULT_TEXT)


def default():
    return copy.deepcopy(DEFAULT)


def policy_of(*limits, metric="error_ratio", root=(), **words):
    metrics = {metric: {"limits": list(limits or [CRITICAL])} | words}
    return {"version": 1, "name": "shop", "metrics": metrics} | dict(root)


def faults_of(*limits, **words):
    policy, faults = parse(policy_of(*limits, **words))
    assert (policy is None) == bool(faults)
    return [(fault.path, fault.message) for fault in faults]


def the_fault_of(*limits, **words):
    (fault,) = faults_of(*limits, **words)
    return fault


def limits_of(*limits, **words):
    policy, faults = parse(policy_of(*limits, **words))
    assert faults == []
    return policy.metrics[0].limits


def test_what_is_not_given_is_its_default():
    """The shortest policy; numbers as the struct declares them."""
    policy, faults = parse(policy_of())
    assert faults == []
    assert policy == Policy(name="shop", metrics=policy.metrics)
    (metric,) = policy.metrics
    assert (metric.window_seconds, metric.least_requests) == (60, 100)
    assert (metric.target, metric.quantile) == (None, None)
    (limit,) = metric.limits
    assert (limit.bound, limit.over, limit.sustain_seconds) == (0.005, True, 0)
    assert (limit.severity, limit.action) == (Severity.CRITICAL, Action.ROLLBACK)


def test_a_metric_reads_its_own_window_and_least_requests():
    """The metric's wins over the policy's."""
    root = {"window": "30 s", "least_requests": 50}
    policy, _ = parse(policy_of(root=root, window="2 min", least_requests=20))
    assert policy.window_seconds == 30
    assert policy.metrics[0].window_seconds == 120
    assert policy.metrics[0].least_requests == 20
    policy, _ = parse(policy_of(root=root))
    assert policy.metrics[0].window_seconds == 30
    assert policy.metrics[0].least_requests == 50


def test_a_limit_against_the_baseline():
    """The margin stands in place of the bound."""
    above = {"severity": "critical", "action": "rollback"}
    (limit,) = limits_of(above | {"above_baseline": {"times": 2, "plus": "0.5 %"}})
    assert (limit.against, limit.times, limit.plus) == ("baseline", 2.0, 0.005)
    assert limit.bound_beside(0.01) == 0.025
    (limit,) = limits_of(
        above | {"below_baseline": {"plus": "0.25 %"}}, metric="success_ratio"
    )
    assert (limit.over, limit.times, limit.plus) == (False, 1.0, 0.0025)


def test_stages_are_kept_in_their_order():
    """However they were listed."""
    (limit,) = limits_of(CRITICAL | {"stages": ["full", "canary"]})
    assert limit.stages == ("canary", "full")


@pytest.mark.parametrize(
    ("name", "quantile"), [(n, q) for n, (_, q) in METRICS.items()]
)
def test_every_metric_has_its_quantile(name, quantile):
    """The digits after the p are those after the point."""
    digits = name.removeprefix("latency_p")
    assert quantile == (float(f"0.{digits}") if digits != name else None)


ROOT = [
    ({"windw": "60 s"}, ("windw",), 'unknown word "windw" (did you mean "window"?)'),
    ({"colour": "red"}, ("colour",), 'unknown word "colour"'),
    ({"x" * 50: 1}, ("x" * 50,), f'unknown word "{"x" * 40}..."'),
    ({7: 1}, (), "a key must be a word, is 7"),
    ({"version": 2}, ("version",), "must be 1, is 2"),
    ({"version": "1"}, ("version",), 'must be a whole number, is "1"'),
    ({"name": ""}, ("name",), 'must be one line of text, is ""'),
    ({"name": "a\nb"}, ("name",), 'must be one line of text, is "a\nb"'),
    ({"name": 7}, ("name",), "must be one line of text, is 7"),
    ({"name": "x" * 101}, ("name",), "is longer than 100 characters"),
    ({"window": "0 s"}, ("window",), 'must be from 1 s to 1 h, is "0 s"'),
    ({"window": "-5 s"}, ("window",), 'must be from 1 s to 1 h, is "-5 s"'),
    ({"window": "1.5 s"}, ("window",), 'must be whole seconds, is "1.5 s"'),
    ({"window": True}, ("window",), "must be a duration such as 10 s, is true"),
    ({"window": math.nan}, ("window",), "must be a duration such as 10 s, is nan"),
    ({"window": None}, ("window",), "must be a duration such as 10 s, is nothing"),
    (
        {"window": "60 ms"},
        ("window",),
        'unknown unit "ms" of a duration, known are: s, min, h, d (did you mean "s"?)',
    ),
    ({"least_requests": 0}, ("least_requests",), "must be from 1 to 1e+09, is 0"),
    ({"least_requests": 1.5}, ("least_requests",), "must be a whole number, is 1.5"),
    ({"least_requests": True}, ("least_requests",), "must be a whole number, is true"),
    (
        {"stage": "canari"},
        ("stage",),
        (
            "must be one of infrastructure, integration, canary, partial, full, "
            'is "canari" (did you mean "canary"?)'
        ),
    ),
    (
        {"late_share_limit": 1.5},
        ("late_share_limit",),
        "must be from 0 % to 100 %, is 1.5",
    ),
    ({"skew_limit": 0}, ("skew_limit",), "must be from 1 s to 1 h, is 0"),
    (
        {"skew_limit": "500 ms"},
        ("skew_limit",),
        'unknown unit "ms" of a duration, known are: s, min, h, d (did you mean "s"?)',
    ),
    (
        {"clock_skew": "2 s"},
        ("clock_skew",),
        'unknown word "clock_skew" (did you mean "skew_limit"?)',
    ),
    ({"metrics": {}}, ("metrics",), f"is empty; known are: {', '.join(METRICS)}"),
    ({"metrics": []}, ("metrics",), "must be a mapping, is a list"),
    ({"watch": "adwin"}, ("watch",), 'must be a list, is "adwin"'),
    ({"watch": ["adwin"] * 2}, ("watch", 1), '"adwin" is here twice'),
    (
        {"watch": ["adwim"]},
        ("watch", 0),
        'must be one of adwin, page_hinkley, is "adwim" (did you mean "adwin"?)',
    ),
    (
        {"silent_after": "40 s"},
        ("silent_after",),
        (
            "40 s is longer than gap 30 s: the sustain clocks would be reset before "
            "it is noticed"
        ),
    ),
    (
        {"gap": "5 min", "forget_after": "2 min"},
        ("gap",),
        (
            "5 min is longer than forget_after 2 min: the service would be forgotten "
            "before the gap ends"
        ),
    ),
    (
        {"hold_after": "2 h"},
        ("hold_after",),
        (
            "2 h is longer than forget_after 1 h: the service would be forgotten "
            "before it is held"
        ),
    ),
]


@pytest.mark.parametrize(("root", "path", "message"), ROOT)
def test_what_is_wrong_at_the_root(root, path, message):
    """One fault, at its place, in these words."""
    assert the_fault_of(root=root) == (path, message)


@pytest.mark.parametrize("word", ["version", "name", "metrics"])
def test_what_must_be_there(word):
    """A policy names its version and itself, and has limits."""
    data = policy_of()
    del data[word]
    _, faults = parse(data)
    assert [(f.path, f.message) for f in faults] == [((), f'lacks "{word}"')]


@pytest.mark.parametrize("data", [None, [], "policy", 7, {}])
def test_what_is_no_policy_at_all(data):
    """Whatever is given, there are faults and no policy."""
    policy, faults = parse(data)
    assert policy is None
    assert faults


METRIC = [
    ({"target": "150 %"}, ("target",), 'must be from 0 % to 100 %, is "150 %"'),
    ({"limit": []}, ("limit",), 'unknown word "limit" (did you mean "limits"?)'),
    ({"limits": []}, ("limits",), "must have 1 to 50 entries, has 0"),
    ({"limits": {}}, ("limits",), "must be a list, is a mapping"),
    ({"limits": ["x"]}, ("limits", 0), 'must be a mapping, is "x"'),
    (
        {"target": "1 %"},
        ("target",),
        "the target 1 % breaks limits[0], above 0.5 % at once",
    ),
]


@pytest.mark.parametrize(("words", "path", "message"), METRIC)
def test_what_is_wrong_in_a_metric(words, path, message):
    """One fault, at its place, in these words."""
    assert the_fault_of(**words) == (("metrics", "error_ratio", *path), message)


def test_an_unknown_metric():
    """A metric that cannot be read is not left out in silence."""
    path, message = the_fault_of(
        root={"metrics": {"latency_p97": {"limits": [SLOW]}}},
    )
    assert path == ("metrics", "latency_p97")
    assert message.startswith('unknown word "latency_p97" (did you mean "latency_p9')


def test_a_metric_without_limits():
    """It would never decide anything."""
    fault = the_fault_of(root={"metrics": {"error_ratio": {"target": "0.1 %"}}})
    assert fault == (("metrics", "error_ratio"), 'lacks "limits"')


LIMIT = [
    (
        {"sustian": "1 s"},
        ("sustian",),
        'unknown word "sustian" (did you mean "sustain"',
    ),
    (
        {"severity": "Critical"},
        ("severity",),
        'is "Critical" (did you mean "critical"?',
    ),
    (
        {"severity": 2},
        ("severity",),
        "must be one of warning, critical, immediate, is 2",
    ),
    (
        {"action": "clear"},
        ("action",),
        'must be one of hold, evaluate, rollback, is "cl',
    ),
    ({"above": "120 %"}, ("above",), 'must be from 0 % to 100 %, is "120 %"'),
    ({"above": "-1 %"}, ("above",), 'must be from 0 % to 100 %, is "-1 %"'),
    ({"above": math.inf}, ("above",), "must be a ratio such as 0.5 %, is inf"),
    ({"above": "1 ms"}, ("above",), 'unknown unit "ms" of a ratio, known are: %'),
    ({"above": "100 %"}, ("above",), "can never be broken: no ratio is above 100%"),
    (
        {"in_stage": {"canary": 1}},
        ("in_stage", "canary"),
        "can never be broken: no ratio is above 100%",
    ),
    ({"in_stage": {}}, ("in_stage",), "is empty; known are: infrastructure, "),
    (
        {"in_stage": {"canry": "1 %"}},
        ("in_stage", "canry"),
        'unknown word "canry" (did you mean "canary"?)',
    ),
    (
        {"in_stage": {"canary": "1 %"}, "stages": ["full"]},
        ("in_stage", "canary"),
        'the limit does not apply in stage "canary", see "stages"',
    ),
    ({"stages": []}, ("stages",), "must have 1 to 50 entries, has 0"),
    ({"stages": ["all"]}, ("stages", 0), "must be one of infrastructure, "),
    ({"sustain": "10 s "}, ("sustain",), 'must be a duration such as 10 s, is "10 s "'),
    ({"sustain": "2 d"}, ("sustain",), 'must be from 0 s to 1 d, is "2 d"'),
    ({"critical_endpoints": 1}, ("critical_endpoints",), "must be true or false, is 1"),
    ({"above_baseline": {"times": 2}}, (), "needs exactly one of "),
    (
        {"severity": "immediate", "action": "hold"},
        ("action",),
        "immediate means rollback, asks for hold",
    ),
]


@pytest.mark.parametrize(("words", "path", "message"), LIMIT)
def test_what_is_wrong_in_a_limit(words, path, message):
    """One fault, at its place, in these words."""
    at, said = the_fault_of(CRITICAL | words)
    assert at == ("metrics", "error_ratio", "limits", 0, *path)
    assert message in said


@pytest.mark.parametrize("word", ["severity", "action"])
def test_what_a_limit_must_say(word):
    """Neither has a default: both are decisions of the one who writes it."""
    limit = {key: value for key, value in CRITICAL.items() if key != word}
    assert the_fault_of(limit)[1] == f'lacks "{word}"'


def test_a_limit_without_a_bound():
    """It needs one, absolute or beside the baseline."""
    path, message = the_fault_of({"severity": "warning", "action": "hold"})
    assert path[-1] == 0
    assert message == 'needs exactly one of "above" and "above_baseline"'


MARGINS = [
    ({}, (), "is empty; known are: times, plus"),
    ({"times": 0.5}, ("times",), "must be from 1 to 1000, is 0.5"),
    ({"times": "2"}, ("times",), 'must be a number, is "2"'),
    ({"times": 1}, (), "is no margin: chance alone breaks it half of the time"),
    ({"plus": 0}, (), "is no margin: chance alone breaks it half of the time"),
]


@pytest.mark.parametrize(("margin", "path", "message"), MARGINS)
def test_what_is_wrong_in_a_margin(margin, path, message):
    """One fault, at its place, in these words."""
    limit = {"severity": "critical", "action": "hold", "above_baseline": margin}
    at, said = the_fault_of(limit)
    assert at == ("metrics", "error_ratio", "limits", 0, "above_baseline", *path)
    assert said == message


def test_a_share_of_success_knows_no_times():
    """Twice a baseline of 99.9 % is no bound."""
    margin = {"times": 2, "plus": "1 %"}
    limit = {"severity": "critical", "action": "hold", "below_baseline": margin}
    path, message = the_fault_of(limit, metric="success_ratio")
    assert path[-1] == "times"
    assert message == 'unknown word "times"'


def test_a_stages_own_bound_is_absolute():
    """Beside a margin it would be ignored, so it is refused."""
    limit = {
        "severity": "critical",
        "action": "hold",
        "above_baseline": {"times": 2},
        "in_stage": {"canary": "1 %"},
    }
    path, message = the_fault_of(limit)
    assert path[-1] == "in_stage"
    assert message == 'belongs to "above", not to "above_baseline"'


def test_latency_needs_a_unit():
    """A bare 500 may be anything."""
    path, message = the_fault_of(SLOW | {"above": 500}, metric="latency_p95")
    assert path[-1] == "above"
    assert message == "needs a unit, such as 300 ms, is 500"


@pytest.mark.parametrize(
    ("metric", "limit", "wrong", "meant"),
    [
        ("success_ratio", CRITICAL, "above", "below"),
        ("error_ratio", FEW, "below", "above"),
    ],
)
def test_the_wrong_side_is_one_fault(metric, limit, wrong, meant):
    """Named with the right side, and not as a lacking bound as well."""
    path, message = the_fault_of(limit, metric=metric)
    assert path[-1] == wrong
    assert message == f'unknown word "{wrong}" (did you mean "{meant}"?)'


def test_a_share_of_success_below_none_is_never_broken():
    """No ratio is below 0 %."""
    path, message = the_fault_of(FEW | {"below": 0}, metric="success_ratio")
    assert path[-1] == "below"
    assert message == "can never be broken: no ratio is below 0%"


WARNING = {"severity": "warning", "above": "0.2 %", "action": "hold"}
EVALUATE = CRITICAL | {"action": "evaluate"}
IMMEDIATE = CRITICAL | {"severity": "immediate"}
BESIDE = {"severity": "critical", "action": "rollback"}
CLASHES = [
    ([CRITICAL, CRITICAL], 1, "says the same as limits[0]"),
    (
        [WARNING | {"above": "1 %"}, CRITICAL],
        0,
        (
            "can never come before the graver limits[1], critical: above 0.5 % "
            "at once, rollback"
        ),
    ),
    (
        [CRITICAL, WARNING | {"in_stage": {"partial": "0.6 %"}}],
        1,
        "can never come before the graver limits[0]",
    ),
    (
        [CRITICAL | {"sustain": "10 min"}, EVALUATE | {"sustain": "20 min"}],
        1,
        (
            "can never come before the graver limits[0], critical: above 0.5 % "
            "for 10 min, rollback"
        ),
    ),
    ([EVALUATE, CRITICAL], 0, "can never come before the graver limits[1]"),
    (
        [IMMEDIATE | {"above": "0.05 %", "sustain": "10 s"}, EVALUATE],
        0,
        (
            "is immediate and yet nearer than limits[1], critical: above 0.5 % "
            "at once, evaluate"
        ),
    ),
    (
        [
            BESIDE | {"action": "hold", "above_baseline": {"times": 4, "plus": "1 %"}},
            BESIDE | {"above_baseline": {"times": 3, "plus": "0.5 %"}},
        ],
        0,
        (
            "can never come before the graver limits[1], critical: above_baseline "
            "by times 3, plus 0.5 % at once, rollback"
        ),
    ),
]


@pytest.mark.parametrize(("limits", "index", "message"), CLASHES)
def test_limits_that_contradict_each_other(limits, index, message):
    """One fault, at the limit that is in vain."""
    path, said = the_fault_of(*limits)
    assert path == ("metrics", "error_ratio", "limits", index)
    assert message in said


def test_below_is_beyond_for_success():
    """The same contradiction, on the other side."""
    warning = {"severity": "warning", "below": "99 %", "action": "hold"}
    path, message = the_fault_of(warning, FEW, metric="success_ratio")
    assert path[-1] == 0
    assert "limits[1], critical: below 99.5 % at once" in message


AGREEING = [
    [WARNING | {"above": "1 %"}, CRITICAL | {"sustain": "10 min"}],
    [WARNING | {"above": "1 %", "stages": ["full"]}, CRITICAL | {"stages": ["canary"]}],
    [WARNING | {"above": "1 %", "critical_endpoints": True}, CRITICAL],
    [WARNING | {"above": "1 %"}, BESIDE | {"above_baseline": {"times": 2}}],
    [EVALUATE, CRITICAL | {"sustain": "10 min"}],
    [IMMEDIATE, IMMEDIATE | {"above": "2 %", "sustain": 5}],
    [
        BESIDE | {"action": "hold", "above_baseline": {"times": 4}},
        BESIDE | {"above_baseline": {"times": 3, "plus": "0.5 %"}},
    ],
]


@pytest.mark.parametrize("limits", AGREEING)
def test_limits_that_do_not_contradict_each_other(limits):
    """Each of them can be the first to speak somewhere."""
    assert faults_of(*limits) == []


@pytest.mark.parametrize(
    "limit",
    [
        CRITICAL | {"critical_endpoints": True},
        BESIDE | {"above_baseline": {"times": 2}},
        CRITICAL | {"in_stage": {"canary": "2 %"}, "above": "1 %"},
    ],
)
def test_a_target_is_compared_with_absolute_limits_of_all_requests(limit):
    """It is a wish for them, and for no others."""
    assert faults_of(limit, target="1 %") == []


def test_a_faulty_limit_is_not_held_against_the_others():
    """One mistake gives one fault, and the rest is still compared."""
    wrong = CRITICAL | {"sustian": "10 min"}
    found = faults_of(EVALUATE, wrong, WARNING | {"above": "1 %"})
    assert [path[3:] for path, _ in found] == [(1, "sustian"), (2,)]


def test_a_huge_list_of_limits_is_one_fault():
    """Pairs are compared, so their number is bounded."""
    limits = [CRITICAL | {"above": f"{n / 100} %"} for n in range(1, 60)]
    path, message = the_fault_of(*limits)
    assert path == ("metrics", "error_ratio", "limits")
    assert message == "must have 1 to 50 entries, has 59"


def test_the_default_has_no_fault_and_the_guides_numbers():
    """The table of the deployment guide, limit by limit."""
    policy, faults = parse(default())
    assert faults == []
    table = {
        (
            metric.name,
            limit.severity.word,
            limit.action.word,
            limit.critical_endpoints,
        ): (
            limit.bound,
            limit.sustain_seconds,
        )
        for metric in policy.metrics
        for limit in metric.limits
    }
    assert table == {
        ("error_ratio", "warning", "hold", False): (0.002, 10),
        ("error_ratio", "critical", "evaluate", False): (0.005, 0),
        ("error_ratio", "critical", "rollback", False): (0.005, 600),
        ("error_ratio", "immediate", "rollback", False): (0.05, 10),
        ("latency_p95", "warning", "hold", False): (300.0, 10),
        ("latency_p95", "critical", "evaluate", False): (500.0, 10),
        ("latency_p95", "critical", "rollback", False): (500.0, 600),
        ("success_ratio", "warning", "hold", False): (0.998, 10),
        ("success_ratio", "critical", "evaluate", False): (0.995, 0),
        ("success_ratio", "critical", "evaluate", True): (0.995, 0),
        ("success_ratio", "critical", "rollback", False): (0.995, 600),
    }
    assert {m.name: m.target for m in policy.metrics} == {
        "error_ratio": 0.001,
        "latency_p95": 200.0,
        "success_ratio": 0.999,
    }
    assert policy.metrics[0].limits[0].bound_in("canary") == 0.0015
    assert policy == Policy(name="deployment-guide", metrics=policy.metrics)


def shuffled(data, order):
    """Put keys and limits in another order."""
    if isinstance(data, dict):
        keys = order.sample(list(data), len(data))
        return {key: shuffled(data[key], order) for key in keys}
    if isinstance(data, list):
        return order.sample(data, len(data)) if isinstance(data[0], dict) else data
    return data


@pytest.mark.slow
@given(st.integers())
def test_the_fingerprint_is_of_the_meaning(seed):
    """Order and units do not change it; a number does."""
    policy, _ = parse(default())
    again, _ = parse(shuffled(default(), random.Random(seed)))
    assert again == policy
    assert fingerprint(again) == fingerprint(policy)


def test_the_fingerprint_knows_units_and_numbers():
    """60 s are a minute; 61 s are not."""
    one, same, other = (
        fingerprint(parse(policy_of(root={"window": window}))[0])
        for window in ("1 min", 60, "61 s")
    )
    assert one == same != other
    assert len(one) == 64


@pytest.mark.slow
@given(st.integers(1, 5000), st.integers(1, 5000), st.booleans())
def test_a_stricter_bound_sorts_first(a, b, is_below):
    """Of two limits that differ in their numbers only, wherever they stand."""
    near, far = sorted({a, b, 5001})[:2]
    word, sign = ("below", -1) if is_below else ("above", 1)
    start = 100 if is_below else 0
    limits = [
        {"severity": "warning", "action": "hold", "sustain": sustain}
        | {word: f"{start + sign * bound / 100:.2f} %"}
        for bound, sustain in ((far, 10), (near, 20))
    ]
    metric = "success_ratio" if is_below else "error_ratio"
    kept = limits_of(*limits, metric=metric)
    assert kept == limits_of(*reversed(limits), metric=metric)
    assert [limit.sustain_seconds for limit in kept] == [20, 10]


WORDS = sorted(
    {"version", "limits", "times", "plus", "x", "canary", "1 %", "10 s", "5 ms"}
    | {key.word for key in POLICY.keys}
    | set(METRICS)
    | set(CRITICAL)
    | set(CRITICAL.values())
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)
)
ANY = st.recursive(
    SCALARS | st.sampled_from(WORDS) | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | SCALARS, inner, max_size=5)
    ),
    max_leaves=20,
)


@pytest.mark.slow
@given(ANY)
def test_nothing_makes_it_raise(data):
    """Whatever YAML or JSON can hold is a policy or a list of faults."""
    policy, faults = parse(data)
    assert (policy is None) == bool(faults)


def spots(data):
    """Every (container, key) of nested data."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in list(pairs):
        yield data, key
        if isinstance(value, dict | list):
            yield from spots(value)


@pytest.mark.slow
@given(st.integers(0, 10**6), ANY)
def test_one_bad_spot_never_makes_it_raise(at, value):
    """The default with anything in one place, so that all of it is walked."""
    data = default()
    places = list(spots(data))
    container, key = places[at % len(places)]
    container[key] = value
    policy, faults = parse(data)
    assert (policy is None) == bool(faults)


def test_parsing_changes_nothing_in_what_it_is_given():
    """The data may be shown, or parsed again."""
    data = default()
    before = copy.deepcopy(data)
    parse(data)
    assert data == before


def keys_of(shape):
    if isinstance(shape, Mapping):
        for key in shape.keys:
            yield key
            yield from keys_of(key.shape)
    elif isinstance(shape, Several):
        yield from keys_of(shape.item)


def test_every_word_is_explained():
    """In one sentence, for editors and for the page."""
    for key in keys_of(POLICY):
        assert key.says.endswith("."), key.word
        assert json.dumps(key.says)
