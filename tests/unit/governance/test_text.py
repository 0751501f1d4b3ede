from governance.text import clean_line, clean_text, is_clean, text_of


def test_what_moves_the_cursor_or_reorders_text_is_taken_out():
    hostile = "Pay \x1b[2J\x1b[31m400\u202e TMM\u2066 to\u200b me\x00\x07\u2028!\ufeff"
    assert clean_text(hostile) == "Pay [2J[31m400 TMM to me!"
    assert not is_clean(hostile)


def test_line_breaks_of_any_kind_stay_line_breaks():
    assert clean_text("a\r\nb\rc\n\td") == "a\nb\nc\n d"
    assert clean_line("a\r\n  b\tc ") == "a b c"


def test_a_huge_text_is_cut_and_says_so():
    cleaned = clean_text("x" * 10_000_000, chars_max=1_000)
    assert cleaned == "x" * 1_000 + " … (cut)"
    assert len(clean_line("\n" * 10_000_000 + "x")) < 300


def test_marks_do_not_pile_up_over_other_lines():
    assert clean_text("e" + "\u0301" * 50) == "e" + "\u0301" * 4


def test_persian_and_emoji_keep_their_joiners():
    assert is_clean("می\u200cخواهم 👩\u200d🎤")


def test_bytes_that_are_no_text_show_as_such():
    assert text_of(b"a\xffb") == "a\ufffdb"
