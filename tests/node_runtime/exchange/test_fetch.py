"""Which content is asked for: one request a content, a bounded amount under way, honest counters."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from node_runtime.exchange.fetch import WANT_FILES, Fetch
from node_runtime.replica.entry import Entry
from tests.support.trees import A, file


def wanted(path: str, content: str, size: int) -> Entry:
    return msgspec.structs.replace(file(path, content, {A: 1}), size=size)


def test_equal_content_is_asked_for_once() -> None:
    fetch: Fetch[str] = Fetch()
    for name in "abc":
        fetch.add(wanted(name, "same", 10), name)
    want = fetch.next_want()
    assert want is not None
    assert [each.path for each in want.files] == [b"a"]
    assert fetch.next_want() is None
    assert (fetch.pending_files, fetch.pending_bytes) == (3, 10)
    request = fetch.end(want.files[0].request)
    assert request is not None
    assert [tag for _, tag in request.wanted_by] == ["a", "b", "c"]
    assert (fetch.pending_files, fetch.pending_bytes, fetch.idle) == (0, 0, True)


def test_one_file_larger_than_the_window_goes_alone() -> None:
    fetch: Fetch[None] = Fetch(window_bytes=100)
    for name, size in (("large", 1000), ("small", 1)):
        fetch.add(wanted(name, name, size), None)
    want = fetch.next_want()
    assert want is not None
    assert [each.path for each in want.files] == [b"large"]
    fetch.end(want.files[0].request)
    want = fetch.next_want()
    assert want is not None
    assert [each.path for each in want.files] == [b"small"]


def test_what_is_here_already_is_not_asked_for() -> None:
    fetch: Fetch[None] = Fetch()
    fetch.add(wanted("large", "large", 1000), None, offset=900)
    want = fetch.next_want()
    assert want is not None
    assert (want.files[0].ranges, fetch.pending_bytes) == ([(900, 100)], 100)


def test_a_request_ends_once() -> None:
    fetch: Fetch[None] = Fetch()
    fetch.add(wanted("a", "a", 10), None)
    want = fetch.next_want()
    assert want is not None
    number = want.files[0].request
    assert fetch.end(number) is not None
    assert fetch.end(number) is None
    assert fetch.arrived(number, 5) is None
    assert fetch.end(77) is None
    assert (fetch.pending_files, fetch.pending_bytes) == (0, 0)


class Fetching(RuleBasedStateMachine):
    """Any order of wanting, asking, arriving and ending."""

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.fetch: Fetch[int] = Fetch(window_bytes=100, window_files=4)
        self.sizes: dict[int, int] = {}
        self.added = self.ended = 0

    @rule(content=st.integers(0, 8), here=st.integers(0, 20))
    def add(self, content: int, here: int) -> None:
        size = 1 + content * 20
        entry = wanted(f"{self.added}", str(content), size)
        self.fetch.add(entry, self.added, min(here, size - 1))
        self.added += 1

    @rule(target=requests)
    def ask(self) -> list[int]:
        want = self.fetch.next_want()
        asked = [] if want is None else [each.request for each in want.files]
        assert len(asked) <= WANT_FILES
        assert not set(asked) & self.sizes.keys(), "a number is given once"
        for each in want.files if want else []:
            self.sizes[each.request] = sum(length for _, length in each.ranges)
        return asked

    @rule(asked=requests, count=st.integers(1, 30))
    def arrive(self, asked: list[int], count: int) -> None:
        for number in asked:
            count = min(count, self.sizes[number])
            if self.fetch.arrived(number, count) is not None:
                self.sizes[number] -= count

    @rule(asked=consumes(requests))
    def end(self, asked: list[int]) -> None:
        for number in asked:
            request = self.fetch.end(number)
            self.ended += len(request.wanted_by) if request else 0

    @invariant()
    def counters_are_honest(self) -> None:
        fetch = self.fetch
        assert fetch.pending_files == self.added - self.ended
        assert fetch.pending_bytes >= 0
        assert fetch.idle == (fetch.pending_files == 0)
        assert not fetch.idle or fetch.pending_bytes == 0
        assert len(fetch._under_way) <= 4
        assert fetch._under_way_bytes <= 100 or len(fetch._under_way) == 1


TestFetching = Fetching.TestCase
TestFetching.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@given(sizes=st.lists(st.integers(1, 50), max_size=40))
@settings(max_examples=40, deadline=None)
def test_everything_wanted_is_asked_for_in_order(sizes: list[int]) -> None:
    fetch: Fetch[None] = Fetch(window_bytes=60, window_files=3)
    for number, size in enumerate(sizes):
        fetch.add(wanted(f"{number}", f"{number}", size), None)
    asked: list[bytes] = []
    while (want := fetch.next_want()) is not None:
        asked += [each.path for each in want.files]
        for each in want.files:
            fetch.end(each.request)
    assert asked == [str(number).encode() for number in range(len(sizes))]
