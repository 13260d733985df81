"""The ladder shows each message where it was said, in the order in which it was."""

import pytest
from rich.console import Console

from deploy.demo_calls.ladder import COLUMNS, Arrow, Kind, header, remark, rungs

BEGAN = 1_800_000_000.0


def arrow(source: str, target: str, text: str, ms: float = 0, kind: Kind = Kind.REQUEST) -> Arrow:
    """Return a message."""
    return Arrow(BEGAN + ms / 1000, source, target, text, kind)


def line(source: str, target: str, text: str, ms: float = 0) -> str:
    """Return the line of a message alone."""
    (only,) = rungs([arrow(source, target, text, ms)], BEGAN)
    return only.plain


def test_messages_stand_in_the_order_of_their_times_whoever_they_are_from() -> None:
    """However they were collected; with the milliseconds since the beginning."""
    lines = rungs(
        [
            arrow("B", "Asterisk", "180 Ringing", 7.04, Kind.ANSWER),
            arrow("producer", "worker", "call", 0, Kind.COMMAND),
            arrow("Asterisk", "B", "INVITE", 6.96),
            arrow("worker", "producer", "call_ringing 180", 12_345.6, Kind.EVENT),
        ],
        BEGAN,
    )
    words = [each.plain.replace("│", " ").replace("┼", " ").split() for each in lines]
    assert [each[0] for each in words] == ["0.0", "7.0", "7.0", "12345.6"]
    assert ["call" in words[0], "INVITE" in words[1], "Ringing" in words[2]] == [True] * 3
    assert "call_ringing" in words[3]


def test_an_arrow_goes_from_one_column_to_another() -> None:
    """Its head is at whom it is said to, and the lines of everybody else go on."""
    there = line("Asterisk", "A", "INVITE")
    back = line("A", "Asterisk", "200 OK")
    assert there[COLUMNS["A"] - 1 :].startswith("▶│")
    assert back[COLUMNS["Asterisk"] :].startswith("│◀")
    for drawn in (there, back):
        assert {drawn[column] for column in COLUMNS.values()} == {"│"}
        assert set(drawn[COLUMNS["A"] + 1 :]) == {" ", "│"}
        assert set(drawn[8 : COLUMNS["Asterisk"]]) == {" ", "│"}


def test_an_arrow_passes_by_whoever_stands_between() -> None:
    """And its text is next to the telephone that it is about."""
    drawn = line("C", "Asterisk", "486 Busy Here")
    assert drawn[COLUMNS["A"]] == drawn[COLUMNS["B"]] == "┼"
    assert COLUMNS["B"] < drawn.index("486 Busy Here") < COLUMNS["C"]
    assert drawn[COLUMNS["Asterisk"] + 1] == "◀"


@pytest.mark.parametrize(
    ("source", "target"), [("producer", "worker"), ("worker", "producer"), ("B", "Asterisk")]
)
def test_what_is_too_long_is_cut_and_moves_nothing(source: str, target: str) -> None:
    """The head and the lines stay where they are."""
    short, long = (line(source, target, text) for text in ("x", "x" * 200))
    assert len(short) == len(long)
    assert "…" in long
    assert all(short[column] == long[column] for column in COLUMNS.values())
    heads = {"▶", "◀"}
    assert [each for each in short if each in heads] == [each for each in long if each in heads]


def test_the_names_stand_above_their_lines() -> None:
    """In the middle, and apart."""
    names = header().plain
    for name, column in COLUMNS.items():
        begin = column - len(name) // 2
        assert f"{names} "[begin - 1 : begin + len(name) + 1] == f" {name} "
    assert names.split() == ["ms", *COLUMNS]


def test_no_line_is_wider_than_a_terminal() -> None:
    """120 columns; a remark takes as many lines as it needs."""
    said = " ".join(["why"] * 100)
    lines = [header(), *rungs([arrow("A", "Asterisk", said)], BEGAN), *remark(said)]
    assert max(len(each.plain) for each in lines) <= 120
    assert " ".join(each.plain.strip() for each in remark(said)) == said


def test_it_is_plain_where_it_is_no_terminal_and_coloured_where_it_is_one() -> None:
    """By what each line is."""
    (drawn,) = rungs([arrow("Asterisk", "A", "INVITE")], BEGAN)
    for terminal in (False, True):
        console = Console(
            force_terminal=terminal, color_system="standard" if terminal else None, width=130
        )
        with console.capture() as captured:
            console.print(drawn, soft_wrap=True)
        assert ("\x1b[" in captured.get()) == terminal
