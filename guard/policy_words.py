"""The language of a policy as one table: every word, what it holds, how far it goes.

The reader walks it, the JSON Schema and the page about it are made from it; so
a word is added here or nowhere. Defaults are those of the structs in
``guard.policy`` and ``guard.limit``.
"""

import msgspec

from guard.limit import STAGES, Measure
from guard.quantity import DURATION, LATENCY, RATIO, Scale
from guard.verdict import Action, Severity

DETECTORS = ("adwin", "page_hinkley")
"""Drift detectors known by name, for services without a baseline."""

METRICS: dict[str, tuple[Measure, float | None]] = {
    "error_ratio": (Measure.ERROR_RATIO, None),
    "success_ratio": (Measure.SUCCESS_RATIO, None),
    "latency_p50": (Measure.LATENCY, 0.5),
    "latency_p90": (Measure.LATENCY, 0.9),
    "latency_p95": (Measure.LATENCY, 0.95),
    "latency_p99": (Measure.LATENCY, 0.99),
    "latency_p999": (Measure.LATENCY, 0.999),
}
"""Every metric's name, what it measures, and the quantile; in canonical order."""

ASKED = tuple(action for action in Action if action is not Action.CLEAR)
"""What a broken limit may ask for."""

DAY = 86400


class Text(msgspec.Struct, frozen=True):
    """Free text of one line."""

    longest: int = 100


class Flag(msgspec.Struct, frozen=True):
    """True or false."""


class Word(msgspec.Struct, frozen=True):
    """One word out of a closed set."""

    words: tuple[str, ...]


class Number(msgspec.Struct, frozen=True):
    """A number without a unit."""

    low: float
    high: float
    is_whole: bool = True


class Amount(msgspec.Struct, frozen=True):
    """A quantity with its unit; low and high in the unit it is kept in."""

    scale: Scale
    low: float
    high: float
    is_whole: bool = False


class Several(msgspec.Struct, frozen=True):
    """A list, without repeats when of words."""

    item: "Shape"
    least: int = 0
    most: int = 50


class Mapping(msgspec.Struct, frozen=True):
    """Known keys and what each holds.

    Parameters
    ----------
    is_filled
        Whether there must be a key at all.
    one_of
        Keys of which exactly one must be there.
    """

    keys: tuple["Key", ...]
    is_filled: bool = False
    one_of: tuple[str, ...] = ()


Shape = Text | Flag | Word | Number | Amount | Several | Mapping


class Key(msgspec.Struct, frozen=True):
    """A word of the language.

    Parameters
    ----------
    says
        What it means to the person who edits a policy.
    instead
        Wrong words that people write for it.
    """

    word: str
    shape: Shape
    says: str
    is_required: bool = False
    instead: tuple[str, ...] = ()

    @property
    def field(self) -> str:
        """The name of the struct's field that keeps it."""
        is_time = isinstance(self.shape, Amount) and self.shape.scale is DURATION
        return f"{self.word}_seconds" if is_time else self.word


def _time(low: int, high: int = DAY) -> Amount:
    return Amount(DURATION, low, high, is_whole=True)


WINDOW = Key("window", _time(1, 3600), "The rolling window a metric is read over.")
LEAST_REQUESTS = Key(
    "least_requests",
    Number(1, 1e9),
    "Fewer requests in the window, and the metric is not judged.",
)
STAGE = Word(STAGES)


def scale_of(measure: Measure) -> Scale:
    """Return the scale a metric's bounds are written in."""
    return LATENCY if measure is Measure.LATENCY else RATIO


def bound_word(measure: Measure) -> str:
    """Return the side on which the metric is worse: above or below."""
    return "below" if measure is Measure.SUCCESS_RATIO else "above"


def margin_word(measure: Measure) -> str:
    """Return the key of a limit against the baseline."""
    return f"{bound_word(measure)}_baseline"


def _bound(measure: Measure, *, low: float = 0.0) -> Amount:
    if measure is Measure.LATENCY:
        return Amount(LATENCY, low, 1e7)
    return Amount(RATIO, 0.0, 1.0)


def _margin_keys(measure: Measure) -> tuple[Key, ...]:
    plus = Key("plus", _bound(measure), "So much worse than the baseline.")
    if measure is Measure.SUCCESS_RATIO:
        return (plus,)
    times = Number(1, 1000, is_whole=False)
    return (Key("times", times, "So many times the baseline."), plus)


def _bound_keys(measure: Measure) -> tuple[Key, ...]:
    side = bound_word(measure)
    wrong = ("above", "over") if side == "below" else ("below", "over")
    beside = tuple(f"{word}_baseline" for word in wrong)
    margin = Mapping(_margin_keys(measure), is_filled=True)
    return (
        Key(
            side,
            _bound(measure, low=0.01),
            f"Broken when the canary is {side} this.",
            instead=wrong,
        ),
        Key(
            f"{side}_baseline",
            margin,
            f"Broken when the canary is {side} the baseline by this margin.",
            instead=beside,
        ),
    )


def _limit(measure: Measure) -> Mapping:
    own = tuple(
        Key(stage, _bound(measure, low=0.01), f"The bound in stage {stage}.")
        for stage in STAGES
    )
    return Mapping(
        (
            Key(
                "severity",
                Word(tuple(severity.word for severity in Severity)),
                "How grave; routes the message.",
                is_required=True,
            ),
            *_bound_keys(measure),
            Key(
                "in_stage",
                Mapping(own, is_filled=True),
                "A stage's own bound, which wins.",
            ),
            Key("sustain", _time(0), "The breach must last so long."),
            Key("stages", Several(STAGE, least=1), "Only in these stages."),
            Key("critical_endpoints", Flag(), "Only requests marked critical."),
            Key(
                "action",
                Word(tuple(action.word for action in ASKED)),
                "What is asked for.",
                is_required=True,
            ),
        ),
        one_of=(bound_word(measure), margin_word(measure)),
    )


def metric(measure: Measure) -> Mapping:
    """Return the words below a metric's name."""
    return Mapping(
        (
            Key("target", _bound(measure), "What is wished for; shown, never judged."),
            WINDOW,
            LEAST_REQUESTS,
            Key(
                "limits",
                Several(_limit(measure), least=1),
                "What is not tolerated.",
                is_required=True,
            ),
        )
    )


def _metric_says(measure: Measure, quantile: float | None) -> str:
    if quantile is not None:
        return f"The latency that {quantile:.1%} of requests stay below."
    kind = "failed" if measure is Measure.ERROR_RATIO else "succeeded"
    return f"The share of requests that {kind}."


POLICY = Mapping(
    (
        Key("version", Number(1, 1), "Of this language.", is_required=True),
        Key("name", Text(), "Named in every decision.", is_required=True),
        WINDOW,
        LEAST_REQUESTS,
        Key("stage", STAGE, "Assumed while no rollout event names one."),
        Key("hold_after", _time(1), "Not judgeable for so long: hold."),
        Key(
            "silent_after",
            _time(1),
            "No canary request for so long is a silence, to be evaluated.",
        ),
        Key(
            "silent_least_expected",
            Number(1, 1e9),
            "A silence counts when the canary's share promised so many requests.",
        ),
        Key(
            "gap",
            _time(0, 3600),
            "Without telemetry a sustain clock stops for up to so long, then resets.",
        ),
        Key("clear_after", _time(1), "Nothing broken for so long: clear."),
        Key(
            "late_share_limit",
            Amount(RATIO, 0.0, 1.0),
            "A greater share of events came late: hold.",
        ),
        Key(
            "skew_limit",
            _time(1, 3600),
            "Canary and baseline are further apart, or one is ahead of Kafka: hold.",
            instead=("clock_skew", "skew"),
        ),
        Key(
            "weight",
            Amount(RATIO, 0.001, 0.999),
            "The share of the requests meant for the canary; another share: hold.",
        ),
        Key(
            "forget_after",
            _time(60, 30 * DAY),
            "A service without telemetry is forgotten after so long.",
        ),
        Key(
            "metrics",
            Mapping(
                tuple(
                    Key(name, metric(measure), _metric_says(measure, quantile))
                    for name, (measure, quantile) in METRICS.items()
                ),
                is_filled=True,
            ),
            "What is measured, and its limits.",
            is_required=True,
        ),
        Key(
            "watch",
            Several(Word(DETECTORS)),
            "Drift detectors for services without a baseline.",
        ),
    )
)
"""The whole language, from the root."""
