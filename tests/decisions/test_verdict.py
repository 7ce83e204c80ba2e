"""The closed sets: their order, and their words on the wire."""

from guard.verdict import Action, Severity, Verdict


def test_verdicts_join_by_max_and_cannot_tell_is_no_pass():
    """Worst is last, so that several verdicts join by max."""
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.WARNING, Verdict.CRITICAL]
    assert order == sorted(Verdict)
    assert max(Verdict.PASS, Verdict.INCONCLUSIVE) is Verdict.INCONCLUSIVE


def test_severities_have_words_from_mild_to_grave():
    """The order of severities is that of their declaration."""
    words = [severity.word for severity in sorted(Severity)]
    assert words == ["warning", "critical", "immediate"]


def test_actions_have_words_from_mild_to_grave():
    """The order of actions is that of their declaration."""
    words = [action.word for action in sorted(Action)]
    assert words == ["clear", "hold", "evaluate", "rollback"]
