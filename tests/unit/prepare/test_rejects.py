"""Records that could not be used are summed up for messages: by reason, with their number and an example."""

from pipeline.prepare.index import Person
from pipeline.prepare.rejects import Case, Group, grouped, merged, same_ids, sentence, summed
from pipeline.tweets import Notice


def test_reasons_that_differ_in_a_name_or_number_are_one_and_the_commonest_comes_first():
    cases = [Case("no text", "a.csv:2"), Case("not a handle: 'x y'", "a.csv:3"), Case("not a handle: 'z !'", "b.csv:9")]
    assert grouped(cases) == [Group(2, "not a handle: 'x y'", "a.csv:3"), Group(1, "no text", "a.csv:2")]
    by_id = [
        Case(f"the author is known only by the id {id}; a table of users would name it", "a") for id in (7, "did:x")
    ]
    assert [group.number for group in grouped(by_id)] == [2]


def test_the_sentence_has_three_reasons_and_counts_the_rest():
    groups = [Group(9 - number, f"reason {letter}", f"{letter}.csv") for number, letter in enumerate("abcde")]
    text = sentence(groups)
    assert text.startswith("a.csv: reason a (9 times); b.csv: reason b (8 times); c.csv: reason c (7 times); ")
    assert text.endswith("; 11 with other reasons")
    assert sentence([Group(1, "no text", "a.csv:2")]) == "a.csv:2: no text"
    assert sentence([]) == ""


def test_groups_of_two_sources_are_added_up():
    assert merged([Group(1, "no text", "a:1"), Group(2, "empty", "c"), Group(4, "no text", "b:1")])[0].number == 5


def test_notices_of_one_kind_are_one_line():
    notices = [Notice("dates cannot be read", 2, "a.csv:3: 'x'"), Notice("dates cannot be read", 3, "b.csv:1: 'y'")]
    assert summed(notices) == ["5 dates cannot be read (a.csv:3: 'x')"]


def test_ids_that_texts_share_are_reported_with_their_person():
    people = [Person("wren", {}, 0, 0, "", None, 0), Person("lark", {}, 0, 0, "", None, 4)]
    assert same_ids(people) == [
        "4 tweets share an id with another text, which no two tweets do; all of them are used (@lark)"
    ]
    assert same_ids(people[:1]) == []
