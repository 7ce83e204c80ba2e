"""The clocks that tell a hang from a pause."""

import pytest

from guard.shell.watchdog import SENTENCES, Stall, Standing, Waiting, Watchdog

LIMIT = 10.0


@pytest.fixture
def dog():
    return Watchdog(dict.fromkeys(Stall, LIMIT))


def look(dog, seconds, *waiting):
    """Look every second of a range."""
    for second in seconds:
        dog.look(float(second), waiting)


def test_what_waits_at_one_mark_is_hung_after_its_limit(dog):
    """Not before; and it says what, where and for how long."""
    look(dog, range(11), Waiting(Stall.FOLD, "input/3", 7))
    assert dog.hung is None
    look(dog, [11], Waiting(Stall.FOLD, "input/3", 7))
    assert dog.hung == Standing(Stall.FOLD, "input/3", 11.0)
    assert dog.hung.sentence == (
        "records of input/3 wait, and none was folded for 11 s"
    )


def test_progress_starts_the_clock_anew(dog):
    """Another mark is progress, also a smaller one: a partition was begun again."""
    for second in range(50):
        dog.look(second, [Waiting(Stall.JUDGE, "panes/0", -(second // 9))])
        assert dog.hung is None
    assert dog.seconds(Stall.JUDGE) == 49 % 9


def test_what_waits_no_more_is_forgotten(dog):
    """Caught up for a moment: the next wait begins at nothing."""
    look(dog, range(9), Waiting(Stall.COMMIT, "input/0", 1))
    look(dog, [9])
    assert dog.seconds(Stall.COMMIT) == 0
    look(dog, range(10, 20), Waiting(Stall.COMMIT, "input/0", 1))
    assert dog.hung is None


def test_each_partition_has_its_clock(dog):
    """One that moves does not hide another that stands still."""
    for second in range(12):
        moving = Waiting(Stall.FOLD, "input/0", second)
        dog.look(second, [moving, Waiting(Stall.FOLD, "input/1", 5)])
    assert dog.hung == Standing(Stall.FOLD, "input/1", 11.0)
    assert dog.seconds(Stall.FOLD) == dog.seconds(Stall.FOLD, "input/1") == 11
    assert dog.seconds(Stall.FOLD, "input/0") == 0


def test_while_kafka_does_not_answer_no_clock_runs(dog):
    """A long outage neither counts nor wipes out what had counted."""
    waiting = Waiting(Stall.FOLD, "input/0", 5)
    look(dog, range(5), waiting)
    for second in range(5, 300):
        dog.pause(second)
    assert dog.seconds(Stall.FOLD) == 4
    look(dog, range(300, 306), waiting)
    assert dog.hung is None
    look(dog, [306], waiting)
    assert dog.hung == Standing(Stall.FOLD, "input/0", 11.0)


def test_a_stop_of_the_process_is_no_hang(dog):
    """Stopped for minutes between two looks: it counts for a few seconds at most."""
    look(dog, [0, 1, 400], Waiting(Stall.FOLD, "input/0", 5))
    assert dog.hung is None


def test_it_is_slow_before_it_is_hung(dog):
    """From half of the limit on a worker is not ready."""
    look(dog, range(6), Waiting(Stall.SNAPSHOT, "panes/0"))
    assert dog.slow is None
    look(dog, [6], Waiting(Stall.SNAPSHOT, "panes/0"))
    assert dog.slow == Standing(Stall.SNAPSHOT, "panes/0", 6.0)
    assert dog.hung is None


def test_the_first_cause_is_told(dog):
    """A fold that waits for acknowledgements is named by them."""
    waiting = [
        Waiting(Stall.COMMIT, "panes/0"),
        Waiting(Stall.FOLD, "input/0"),
        Waiting(Stall.ACKNOWLEDGEMENT, "input/0"),
    ]
    look(dog, range(20), *waiting)
    assert dog.hung.what is Stall.ACKNOWLEDGEMENT


def test_limits_differ():
    """Each has its own."""
    dog = Watchdog({Stall.START: 3.0, Stall.FOLD: 30.0})
    look(dog, range(5), Waiting(Stall.FOLD, "input/0"), Waiting(Stall.START))
    assert dog.hung == Standing(Stall.START, "", 4.0)


@pytest.mark.parametrize("what", Stall)
def test_each_has_a_sentence(what):
    """One line, with its place where it has one."""
    sentence = Standing(what, "topic/1", 90.0).sentence
    assert sentence.endswith(" for 90 s")
    assert ("topic/1" in sentence) == ("{where}" in SENTENCES[what])
