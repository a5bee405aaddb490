"""Each entry follows from the one before; the walk finds what does not, and where."""

import datetime as dt
import hashlib
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin_server.errors import TamperedError
from livepin_server.services.audit import entry_of
from livepin_server.services.audit.chain import (
    FIRST,
    LONGEST_LINE,
    Seal,
    Walk,
    account_of,
    digest,
    line,
    text,
)
from livepin_server.services.audit.entry import encode
from livepin_server.services.model import Intent

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)


def entries(count=6, account="acme", published=lambda number: number if number % 2 == 0 else None):
    """Return the bytes of entries; every second one published the config of its number."""
    return [
        encode(
            entry_of(
                Intent(author="alice", reason=f"{number}"),
                account=account,
                action="config.publish",
                now=NOW + dt.timedelta(minutes=number),
                config=published(number),
            )
        )
        for number in range(1, count + 1)
    ]


def chained(listed):
    """Return the lines of entries, and their heads."""
    lines, heads, before = [], [], FIRST
    for number, each in enumerate(listed, 1):
        head = digest(before, each)
        lines.append(line(number, before, head, each))
        heads.append(text(head))
        before = head
    return lines, heads


def seals(heads, *versions, where="the server's config"):
    return [Seal(head=heads[n - 1], where=f"{where} {n}", version=n) for n in versions]


def walk(lines, **options):
    found = Walk(**options)
    for each in lines:
        found.take(each)
    found.end()
    return found


def refused(lines, **options):
    with pytest.raises(TamperedError) as caught:
        walk(lines, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


LINES, HEADS = chained(entries())


# -- what holds ----------------------------------------------------------------------------------


def test_the_digest_is_as_it_is_written_down():
    first, second = entries(2)
    one = hashlib.sha256(b"livepin audit log\n" + bytes(32) + first).digest()
    two = hashlib.sha256(b"livepin audit log\n" + one + second).digest()
    assert (digest(FIRST, first), digest(one, second)) == (one, two)
    found = json.loads(line(2, one, two, second))
    assert found == {
        "number": 2, "previous": text(one), "digest": text(two), "entry": json.loads(second),
    }  # fmt: skip
    assert len(text(one)) == 43


def test_a_walk_without_seals_shows_that_entries_follow_from_each_other():
    found = walk(LINES)
    assert (found.account, found.number, found.head) == ("acme", 6, HEADS[-1])
    assert (found.proven, found.kept, found.configs) == ([], None, 0)


def test_an_empty_log_is_one():
    assert (walk([]).number, walk([], kept=iter(())).head) == (0, text(FIRST))


def test_every_config_that_is_kept_meets_the_entry_that_published_it():
    found = walk(LINES, account="acme", kept=iter(seals(HEADS, 2, 4, 6)))
    assert found.configs == 3
    assert found.kept.entry == 6
    assert found.kept.moment == NOW + dt.timedelta(minutes=6)
    assert found.kept.by == "the server's config 6"


def test_a_seal_from_elsewhere_proves_what_came_before_it():
    brought = [*seals(HEADS, 4, where="app.json"), *seals(HEADS, 4, 2, where="cdn")]
    found = walk(LINES, seals=brought)
    assert [(each.entry, each.by) for each in found.proven] == [
        (2, "cdn 2"), (4, "app.json 4"), (4, "cdn 4"),
    ]  # fmt: skip


def test_a_seal_in_another_log_is_found_by_its_head():
    found = walk(LINES, seals=[Seal(head=HEADS[2], where="entry 9 of the account beta")])
    assert [each.entry for each in found.proven] == [3]


def test_what_was_published_meanwhile_is_waited_for():
    kept = iter(seals(HEADS, 2, 4, 6))
    found = Walk(kept=kept)
    for each in LINES[:5]:
        found.take(each)
    assert found.is_behind()
    found.take(LINES[5])
    assert not found.is_behind()
    found.end()


def test_the_heads_of_the_servers_log_are_remembered_once():
    listed = [
        each[:-1] + b',"server":"%s"}' % b"aab"[n : n + 1] for n, each in enumerate(entries(3))
    ]
    assert walk(chained(listed)[0]).servers == {"a": 2, "b": 3}


def test_a_walk_keeps_no_line():
    long = [
        each[:-1] + b',"x":"' + b"x" * 50_000 + b'"}'
        for each in entries(2, published=lambda _: None)
    ]
    lines, _ = chained(long * 100)
    tracemalloc.start()
    try:
        walk(lines)
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


# -- what does not -------------------------------------------------------------------------------


@given(st.data())
@settings(deadline=None)
def test_one_flipped_byte_anywhere_is_found(data):
    whole = b"".join(LINES)
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    changed = whole[:place] + bytes([other]) + whole[place + 1 :]
    with pytest.raises(TamperedError):
        walk(changed.splitlines(keepends=True))


@given(st.data())
@settings(deadline=None)
def test_lines_left_out_doubled_or_in_another_order_are_found(data):
    chosen = data.draw(st.lists(st.sampled_from(LINES), max_size=8))
    if chosen == LINES[: len(chosen)]:
        walk(chosen)
    else:
        with pytest.raises(TamperedError):
            walk(chosen)


def test_a_changed_entry():
    changed = [*LINES[:3], LINES[3].replace(b'"alice"', b'"mallo"'), *LINES[4:]]
    assert refused(changed) == "entry 4 does not have its digest"


def test_a_removed_entry():
    assert refused([*LINES[:3], *LINES[4:]]) == "expected entry 4, found entry 5"


def test_another_entry_in_the_place_of_one():
    others, _ = chained(entries(6, published=lambda _: None))
    assert refused([*LINES[:3], *others[3:]]) == "entry 4 does not follow entry 3"


def test_an_entry_of_another_account():
    listed = [*entries(2), *entries(1, account="beta")]
    assert refused(chained(listed)[0]) == "entry 3 is of the account beta, not of the account acme"
    assert "is of the server, not of" in refused(chained([*entries(2), *entries(1, "")])[0])
    assert "entry 1 is of the account acme" in refused(LINES, account="beta")


def test_a_line_that_is_cut_off():
    assert refused([*LINES[:5], LINES[5][:-1]]) == "entry 6 is cut off"


@pytest.mark.parametrize(
    "bad",
    [b"\n", b"{}\n", b"[]\n", b"null\n", b"\xff\n", b'"\\ud800"\n', b"[" * 30_000 + b"\n",
     LINES[0][:-2] + b',"more":1}\n', LINES[0].replace(b'"number":1', b'"number":"1"')],
)  # fmt: skip
def test_a_line_that_is_none(bad):
    assert refused([bad]).startswith("expected entry 1, found a line that is none: ")
    with pytest.raises(TamperedError):
        account_of(bad)


@pytest.mark.parametrize("bad", [b"{}", b"[]", b'{"account":1}', b"{" * 5])
def test_an_entry_that_is_none(bad):
    found = refused([line(1, FIRST, digest(FIRST, bad), bad)])
    assert found.startswith(("entry 1 says nothing", "expected entry 1, found a line that is none"))


def test_a_log_that_was_cut_off():
    message = "app.json 6 carries a head that is not in the log of the account acme, which ends at"
    brought = seals(HEADS, 6, where="app.json")
    assert refused(LINES[:5], seals=brought) == f"{message} entry 5"
    kept = iter(seals(HEADS, 2, 4, 6))
    found = Walk(kept=kept)
    for each in LINES[:5]:
        found.take(each)
    assert found.is_behind()
    with pytest.raises(TamperedError, match="the server's config 6 carries a head"):
        found.end()


def test_a_log_that_was_written_anew():
    expected = "entry 2 published config 2, but its digest is not the head that app.json 2 carries"
    anew, _ = chained([each.replace(b'"alice"', b'"mallory"') for each in entries()])
    assert refused(anew, seals=seals(HEADS, 2, where="app.json")) == expected
    assert "the server's config 2" in refused(anew, kept=iter(seals(HEADS, 2, 4, 6)))
    assert walk(anew).number == 6  # by itself it holds: that is why heads are carried away


def test_a_config_that_is_kept_no_more():
    found = refused(LINES, kept=iter(seals(HEADS, 2, 6)))
    assert found == "entry 4 published config 4, the server keeps config 6 next"
    found = refused(LINES, kept=iter(seals(HEADS, 2, 4)))
    assert found == "entry 6 published config 6, the server keeps no newer config"


def test_a_config_that_no_entry_published():
    found = refused(LINES, kept=iter([*seals(HEADS, 2), Seal(head="x", where="c", version=3)]))
    assert found == "entry 4 published config 4, the server keeps config 3 next"


def test_a_version_that_two_entries_published():
    twice, heads = chained(entries(4, published=lambda number: 2 if number > 2 else None))
    kept = [Seal(head=heads[2], where="c", version=2), Seal(head=heads[3], where="d", version=3)]
    assert "entry 4 published config 2, the server keeps config 3" in refused(
        twice, kept=iter(kept)
    )


def test_whose_log_a_line_is_of():
    assert account_of(LINES[0]) == "acme"
    assert len(max(LINES, key=len)) < LONGEST_LINE
