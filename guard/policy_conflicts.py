"""Where a policy contradicts itself, although each of its words is right.

One limit:
- ``immediate`` means no discussion, so it asks for ``rollback``;
- a ratio above 100 % or below 0 % cannot be, so such a bound can never be broken;
- a margin to the baseline that is none would be broken half of the time by chance;
- a stage's own bound belongs to a stage in which the limit applies, and to a limit that
  is absolute.

Two limits of one kind (same metric, both absolute or both against the baseline, both
for all requests or both for critical endpoints), in a stage they share:
- they say the same twice;
- the milder one, by severity or by action, never comes first: it lies at or beyond
  the graver one's bound and must last as long or longer. So a warning beyond the
  critical limit, or ``evaluate`` sustained as long as ``rollback`` at the same bound.
  A warning beyond that fires sooner is no contradiction: a spike, and a lasting shift;
- an immediate limit is nearer than a critical one or a warning, whatever the sustain:
  most likely a slip of the decimal point, and it would roll back on it.

A metric: the target lies beyond a limit, so that to meet it breaks the limit.

The times of a policy: a silence noticed only after the gap has reset the sustain clocks
(``silent_after`` > ``gap``); a service forgotten before its gap ends or before it is
held (``gap``, ``hold_after`` > ``forget_after``).
"""

from itertools import combinations

from guard.fault import Fault, Path
from guard.limit import STAGES, Limit, Measure
from guard.policy_words import bound_word, margin_word, scale_of
from guard.quantity import DURATION, in_words
from guard.verdict import Action, Severity

Blame = tuple[int, str]  # which limit, by its index, and why

NOT_AFTER = (
    ("silent_after", "gap", "the sustain clocks would be reset before it is noticed"),
    ("gap", "forget_after", "the service would be forgotten before the gap ends"),
    ("hold_after", "forget_after", "the service would be forgotten before it is held"),
)
"""The first must not be longer than the second, and why."""


def of_limit(limit: Limit, measure: Measure, path: Path) -> list[Fault]:
    """Return where one limit contradicts itself."""
    faults: list[Fault] = []
    if limit.severity is Severity.IMMEDIATE and limit.action is not Action.ROLLBACK:
        message = f"immediate means rollback, asks for {limit.action.word}"
        faults.append(Fault(path=(*path, "action"), message=message))
    for stage in limit.in_stage:
        if not limit.applies_in(stage):
            message = f'the limit does not apply in stage "{stage}", see "stages"'
            faults.append(
                Fault(path=(*path, "in_stage", stage), message=message, at_key=True)
            )
    if limit.against == "baseline":
        return faults + _of_margin(limit, measure, path)
    return faults + _never_broken(limit, measure, path)


def _of_margin(limit: Limit, measure: Measure, path: Path) -> list[Fault]:
    word = margin_word(measure)
    faults: list[Fault] = []
    if limit.in_stage:
        message = f'belongs to "{bound_word(measure)}", not to "{word}"'
        faults.append(Fault(path=(*path, "in_stage"), message=message, at_key=True))
    if limit.times == 1 and limit.plus == 0:
        message = "is no margin: chance alone breaks it half of the time"
        faults.append(Fault(path=(*path, word), message=message))
    return faults


def _never_broken(limit: Limit, measure: Measure, path: Path) -> list[Fault]:
    if measure is Measure.LATENCY:
        return []
    word = bound_word(measure)
    places = [((*path, word), limit.bound)]
    places += [((*path, "in_stage", s), bound) for s, bound in limit.in_stage.items()]
    last = 1.0 if limit.over else 0.0
    message = f"can never be broken: no ratio is {word} {last:.0%}"
    return [Fault(path=at, message=message) for at, bound in places if bound == last]


def of_metric(
    limits: dict[int, Limit], target: float | None, measure: Measure, path: Path
) -> list[Fault]:
    """Return where a metric's limits, by their index, contradict each other."""
    blamed: dict[int, str] = {}
    for first, second in combinations(limits.items(), 2):
        blame = _clash(first, second, measure)
        if blame is not None:
            blamed.setdefault(*blame)
    faults = [
        Fault(path=(*path, "limits", index), message=message)
        for index, message in blamed.items()
    ]
    if target is not None:
        faults += _of_target(limits, target, measure, path)
    return faults


def of_times(seconds: dict[str, int]) -> list[Fault]:
    """Return which of a policy's times, by their words, contradict each other."""
    return [
        Fault(
            path=(word,),
            message=f"{in_words(seconds[word], DURATION)} is longer than "
            f"{other} {in_words(seconds[other], DURATION)}: {why}",
        )
        for word, other, why in NOT_AFTER
        if word in seconds and other in seconds and seconds[word] > seconds[other]
    ]


def _of_target(
    limits: dict[int, Limit], target: float, measure: Measure, path: Path
) -> list[Fault]:
    for index, limit in limits.items():
        if limit.against == "baseline" or limit.critical_endpoints:
            continue
        for stage in filter(limit.applies_in, STAGES):
            if limit.is_broken_by(target, limit.bound_in(stage)):
                scale = scale_of(measure)
                message = (
                    f"the target {in_words(target, scale)} breaks limits[{index}], "
                    f"{_said(limit, stage, measure)}"
                )
                return [Fault(path=(*path, "target"), message=message)]
    return []


def _clash(
    first: tuple[int, Limit], second: tuple[int, Limit], measure: Measure
) -> Blame | None:
    if _kind(first[1]) != _kind(second[1]):
        return None
    for stage in STAGES:
        if first[1].applies_in(stage) and second[1].applies_in(stage):
            blame = _clash_in(stage, first, second, measure)
            if blame is not None:
                return blame
    return None


def _clash_in(
    stage: str, first: tuple[int, Limit], second: tuple[int, Limit], measure: Measure
) -> Blame | None:
    if _says(first[1], stage) == _says(second[1], stage):
        return second[0], f"says the same as limits[{first[0]}]"
    for (index, one), (other_index, other) in ((first, second), (second, first)):
        why = _blame(one, other, stage)
        if why:
            said = f"{_said(other, stage, measure)}, {other.action.word}"
            rule = f"limits[{other_index}], {other.severity.word}: {said}"
            return index, f"{why} {rule}"
    return None


def _blame(one: Limit, other: Limit, stage: str) -> str:
    if _is_rash(one, other, stage):
        return "is immediate and yet nearer than"
    if _never_comes_first(one, other, stage):
        return "can never come before the graver"
    return ""


def _kind(limit: Limit) -> tuple[str, bool]:
    return limit.against, limit.critical_endpoints


def _says(limit: Limit, stage: str) -> tuple[object, ...]:
    reach = _reach(limit, stage)
    return limit.severity, limit.action, limit.sustain_seconds, reach


def _reach(limit: Limit, stage: str) -> tuple[float, float]:
    """Return how far the bound is from what is well: the greater the milder."""
    if limit.against == "baseline":
        return limit.times, limit.plus
    bound = limit.bound_in(stage)
    return 1.0, bound if limit.over else -bound


def _is_beyond(one: Limit, other: Limit, stage: str) -> bool:
    """Whether one is at the other's bound or farther, whatever the baseline."""
    pairs = zip(_reach(one, stage), _reach(other, stage), strict=True)
    return all(mine >= theirs for mine, theirs in pairs)


def _is_rash(one: Limit, other: Limit, stage: str) -> bool:
    if one.severity is not Severity.IMMEDIATE or other.severity is Severity.IMMEDIATE:
        return False
    return _is_beyond(other, one, stage) and not _is_beyond(one, other, stage)


def _never_comes_first(one: Limit, other: Limit, stage: str) -> bool:
    is_milder = one.severity < other.severity or one.action < other.action
    lasts = one.sustain_seconds >= other.sustain_seconds
    return is_milder and lasts and _is_beyond(one, other, stage)


def _said(limit: Limit, stage: str, measure: Measure) -> str:
    scale = scale_of(measure)
    sustained = in_words(limit.sustain_seconds, DURATION)
    when = f"for {sustained}" if limit.sustain_seconds else "at once"
    if limit.against == "absolute":
        bound = in_words(limit.bound_in(stage), scale)
        return f"{bound_word(measure)} {bound} {when}"
    margin = f"times {limit.times:g}, plus {in_words(limit.plus, scale)}"
    return f"{margin_word(measure)} by {margin} {when}"
