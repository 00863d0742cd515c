"""What a scoring has done outlives its process."""

import pytest

from scripts.command import Failure
from scripts.scoring.ledger import Ledger


def test_the_ledger_goes_on_where_it_was(tmp_path):
    with Ledger(tmp_path) as ledger:
        first = ledger.begin()
        for number in range(3):
            ledger.add(f"{number}.png", f"object {number}", 10 + number, 5, first, None)
        ledger.answer("object 0", {"label": "ants", "probabilities": {"ants": 1.0}})
        ledger.refuse("object 1", "too green")
        ledger.assign(["object 2"], "job")
    with Ledger(tmp_path) as ledger:
        assert ledger.left(9) == ["object 2"]
        assert (ledger.left_of("job"), ledger.largest_bytes()) == (1, 12)
        second = ledger.begin()
        assert ledger.is_listed("0.png", 10, 5, second)
        assert not ledger.is_listed("1.png", 10, 5, second)  # it has another size now
        ledger.add("1.png", "object 9", 10, 5, second, None)
        ledger.end_of_list(second)  # 2.png was not found
        assert ledger.left(9) == ["object 9"]
        counts = ledger.counts()
        assert (counts.pictures, counts.scored, counts.refused, counts.left) == (2, 1, 0, 1)
        assert [row.known for row in ledger.rows()] == [None]


def test_one_process_at_a_time(tmp_path):
    with Ledger(tmp_path), pytest.raises(Failure, match=r"another score.py works in .*; wait for it"):
        Ledger(tmp_path)
    Ledger(tmp_path).close()
