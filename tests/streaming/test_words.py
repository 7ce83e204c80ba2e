"""Numbers of words: what they mean, and what they cost."""

import numpy as np
import pytest

import guard.words
from guard.cohort import Cell
from guard.event import LONGEST_WORD, Rejection
from guard.words import Instances, Kinds, Words


def kinds():
    return Kinds(len)


def key(**words):
    given = {
        "service": "shop",
        "version": "v1",
        "cohort": "canary",
        "critical": False,
        "status": 200,
        "error": None,
        "type": "request",
    }
    return tuple((given | words).values())


def test_a_kind_says_everything_that_words_decide():
    """Cell, error, status class and reason stand in the table, by number."""
    k = kinds()
    numbers = [k[key()], k[key(status=503)], k[key(status=99)], k[key(service="pay")]]
    table = k.table()
    assert table.cells[numbers].tolist() == [0, 0, 0, 1]
    assert table.errors[numbers].tolist() == [0, 1, 0, 0]
    assert table.status_classes[numbers].tolist() == [2, 5, 0, 2]
    assert table.rejections[numbers].tolist() == [0, 0, Rejection.BAD_STATUS, 0]
    assert k.cells == [
        Cell("shop", "v1", "canary", critical=False),
        Cell("pay", "v1", "canary", critical=False),
    ]
    assert k.targets == k.target_column().tolist() == [4, 3]
    assert k.target_column() is k.target_column()


def test_equal_words_have_one_number():
    """A combination is judged once; the numbers go on where the rejections end."""
    k = kinds()
    assert k[key()] == k[key()] == len(Rejection)
    assert k[key(status="200")] == len(Rejection) + 1


@pytest.mark.parametrize("field", ["version", "cohort"])
def test_an_empty_name_is_no_name(field):
    """Missing and empty are the same cell."""
    k = kinds()
    empty, missing = k[key(**{field: ""})], k[key(**{field: None})]
    assert k.table().cells[[empty, missing]].tolist() == [0, 0]
    assert k.cells == [
        Cell("shop", "v1", "canary", critical=False)._replace(**{field: None})
    ]


def test_what_is_rejected_takes_no_room():
    """Rejected words need no number, and long ones are not even remembered."""
    k = kinds()
    assert k[key(status="x" * LONGEST_WORD)] == Rejection.BAD_STATUS
    assert k[key(status=10**300)] == Rejection.BAD_STATUS
    assert len(k) == 0
    assert k[key(status="x")] == Rejection.BAD_STATUS
    assert (len(k), k.cells) == (1, [])


def test_tables_grow():
    """More words than there was room for keep their meaning."""
    k, i = kinds(), Instances()
    numbers = [k[key(version=f"v{n}")] for n in range(3000)]
    assert k.table().cells[numbers].tolist() == list(range(3000))
    named = [i[f"pod-{n}"] for n in range(3000)]
    assert [i.names[n] for n in named] == [f"pod-{n}" for n in range(3000)]
    assert len(np.unique(i.hashes[named])) == 3000


def test_names_that_agree_in_what_is_kept_are_one():
    """An instance's name is cut, and its halves of surrogate pairs replaced."""
    i = Instances()
    whole = "i" * LONGEST_WORD
    assert i[whole] == i[whole + "a"] == i[whole + "b"]
    assert i["a\ud800"] == i["a?"]
    assert i.names == ["", whole, "a?"]
    assert len(i) == 3


def test_no_name_has_a_number_of_its_own():
    """The empty name is known from the start."""
    i = Instances()
    assert i[""] == i.blank == 0


def test_dictionaries_are_renewed_between_blocks(monkeypatch):
    """A block keeps the dictionaries that it began with; the next gets fresh ones."""
    monkeypatch.setattr(guard.words, "MOST_WORDS", 3)
    words = Words(len)
    first = words.current()
    assert words.current() == first
    assert words.current()[0] is first[0]
    for n in range(4):
        first[1][f"pod-{n}"]
    assert words.current()[0] is not first[0]
    assert len(first[1]) == 5
