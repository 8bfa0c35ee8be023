"""Counting sentences by punctuation."""

from __future__ import annotations

import pytest

from modelgraft.language.verify.instructions.sentences import count_sentences

COUNTS = [
    ("", 0),
    ("... !!! ?", 0),
    ("One", 1),
    ("One.", 1),
    ("One. Two! Three? Four", 4),
    ("Really?! Yes...  Well", 3),
    ("One.Two", 1),
    ("It costs 3.14 or 2.50. Fine.", 2),
    ("Dr. Smith met Mrs. Jones. They talked.", 2),
    ("George W. Bush spoke. J. R. Smith left.", 2),
    ("The answer is B. Next comes C.", 2),
    ("So do I. You too.", 2),
    ("Use tools, e.g. hammers, i.e. heavy ones. Done.", 2),
    ("Apples, pears, etc. are fruit. Yes.", 2),
    ("Apples, pears, etc. Then nuts.", 2),
    ("We met at 5 p.m. on Monday. We left at 6 p.m. It rained.", 3),
    ("1. First\n2. Second\n3. Third", 1),
    ("1. First.\n2. Second.\n3. Third.", 3),
    ("There were 5. Then 6.", 2),
    ('She said "Go." He went.', 2),
    ("(One.) Two.", 2),
    ("**One.** Two.", 2),
    ("\u201cOne.\u201d Two.", 2),
    ("A heading\n\nA sentence.", 1),
    ("\u4f60\u597d\u3002\u518d\u89c1\uff01", 2),
    ("\u092f\u0939\u0964 \u0935\u0939\u0964", 2),
]


@pytest.mark.parametrize(("text", "count"), COUNTS)
def test_sentences_end_where_a_reader_ends_them(text, count):
    assert count_sentences(text) == count
