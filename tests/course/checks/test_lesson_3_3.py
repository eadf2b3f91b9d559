"""The head of lesson 3.3 that its checks are run on."""

from __future__ import annotations

from gptladder.course.checks.lesson_3_3 import head
from gptladder.course.source.packages import reference


def test_a_head_is_lively_and_drops_only_where_it_is_told():
    assert (head(reference, 6, 4).query.weight.std() > 0.3).item()
    assert head(reference, 6, 4, dropout=0.5).dropout.p == 0.5
    assert not head(reference, 6, 4, dropout=0.5).training
