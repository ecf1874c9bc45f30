"""Laws of a single decision, over any two entries of a path, sensible or not."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from node_runtime.replica.entry import Entry, Kind
from node_runtime.replica.reconcile import Action, Rules, check_peer_entry, reassert, reconcile
from node_runtime.replica.version import Order, compare, join
from schemas.plans import ConflictPlan
from tests.support.trees import A, B, directory, file, gone, link

RULES = Rules(B, "bob", False, "propagate", "revert", ConflictPlan())
MIRROR = msgspec.structs.replace(RULES, one_way=True)

edits = st.dictionaries(st.integers(1, 3), st.integers(1, 3), min_size=1, max_size=3)
times = st.integers(0, 2)
ids = st.integers(1, 3)
texts = st.sampled_from(["one", "two"])
plain = st.one_of(
    st.builds(file, st.just("x"), texts, edits, times, ids, st.sampled_from([0o600, 0o644, 0o755])),
    st.builds(link, st.just("x"), texts, edits, times, ids),
    st.builds(directory, st.just("x"), edits, ids, st.sampled_from([0o700, 0o755])),
    st.builds(gone, st.just("x"), edits, times, ids),
)


def _with_metadata_edit(entry: Entry, extra: dict[int, int]) -> Entry:
    metadata = join(entry.version, tuple(sorted(extra.items())))
    return msgspec.structs.replace(entry, metadata_version=metadata)


entries = st.builds(_with_metadata_edit, plain, st.one_of(st.just({}), edits))


@settings(max_examples=400, deadline=None)
@given(entries, entries)
def test_two_ends_agree_after_telling_each_other_again(one: Entry, two: Entry) -> None:
    for _ in range(4):
        if one == two:
            break
        one = reconcile(one, two, RULES, 9).entry
        two = reconcile(two, one, RULES, 9).entry
    assert one == two
    assert reconcile(one, two, RULES, 9).action is Action.NOTHING


@settings(max_examples=400, deadline=None)
@given(entries, entries)
def test_a_result_is_an_entry_that_any_peer_accepts_and_contains_both(local: Entry, peer: Entry) -> None:
    for rules in (RULES, MIRROR):
        decision = reconcile(local, peer, rules, 9)
        assert check_peer_entry(decision.entry) is None
        if decision.action is not Action.NOTHING:
            for known in (local, peer):
                assert join(decision.entry.version, known.version) == decision.entry.version
                assert join(decision.entry.metadata_version, known.metadata_version) == (
                    decision.entry.metadata_version
                )
        assert reconcile(decision.entry, peer, rules, 10).action is Action.NOTHING


@settings(max_examples=400, deadline=None)
@given(entries, entries)
def test_content_goes_only_to_an_edit_that_knew_it_or_to_a_copy(local: Entry, peer: Entry) -> None:
    decision = reconcile(local, peer, RULES, 9)
    overwrites = not local.deleted and not local.same_content(decision.entry)
    if overwrites and local.kind is not Kind.DIRECTORY:
        knew = compare(local.version, peer.version) is Order.BEFORE
        assert knew is (decision.keep_aside is None)
    else:
        assert decision.keep_aside is None


@settings(max_examples=400, deadline=None)
@given(entries, entries)
def test_a_mirror_has_the_source_s_content(local: Entry, source: Entry) -> None:
    result = reconcile(local, source, MIRROR, 9).entry
    assert result.same_content(source)
    assert result.deleted or result.same_metadata(source)


@settings(max_examples=400, deadline=None)
@given(st.builds(directory, st.just("x"), edits, ids), entries)
def test_a_reasserted_directory_stands_against_what_would_remove_it(held: Entry, peer: Entry) -> None:
    kept = reassert(held, peer, A, 9)
    assert check_peer_entry(kept) is None
    assert reconcile(kept, peer, RULES, 9).entry.kind is Kind.DIRECTORY
    assert not reconcile(kept, peer, RULES, 9).entry.deleted
