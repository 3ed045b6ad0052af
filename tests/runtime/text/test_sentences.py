from m8d.runtime.text.sentences import pieces, sentences


def count_words(text):
    return len(text.split())


def test_sentences_end_at_marks_and_empty_lines():
    text = "One two. “Three four?” Five!\nSix seven\n\nA title\n\nThe end…"
    assert sentences(text) == ["One two.", "“Three four?”", "Five!", "Six seven", "A title", "The end…"]


def test_abbreviations_and_initials_end_no_sentence():
    assert sentences("Dr. A. Smith met Mrs. Jones. Version 3.5 is out, etc. Good.") == [
        "Dr. A. Smith met Mrs. Jones.",
        "Version 3.5 is out, etc.",
        "Good.",
    ]


def test_nothing_gives_nothing():
    assert sentences(" \n\n ") == []


def test_short_sentences_are_spoken_together():
    assert pieces("A b. C d. E f. G h.", count_words, 6) == ["A b. C d.", "E f. G h."]


def test_a_long_sentence_breaks_at_clauses_then_between_words():
    text = "a b c d, " + "e " * 12 + "f."
    broken = pieces(text, count_words, 5)
    assert broken[0] == "a b c d,"
    assert " ".join(broken).split() == text.split()
    assert max(map(count_words, broken)) <= 5


def test_a_word_longer_than_the_limit_stays_whole():
    assert pieces("x" * 100, len, 10) == ["x" * 100]
