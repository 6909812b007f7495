from pathlib import Path

import pytest

from bottega.errors import InvalidData, NotFound
from bottega.lab import find_lab, labs


@pytest.mark.parametrize("name", ["07_circles", "07", "7", "circles"])
def test_find_lab_takes_name_or_number(shelf: Path, name: str) -> None:
    assert find_lab(name, shelf).name == "07_circles"


@pytest.mark.parametrize("name", ["8", "squares", "", "07_"])
def test_unknown_lab_names_the_known_ones(shelf: Path, name: str) -> None:
    with pytest.raises(NotFound, match="07_circles"):
        find_lab(name, shelf)


def test_labs_come_by_number_and_other_folders_are_left_out(shelf: Path) -> None:
    for name in ("03_lines", "notes", "12_cubes"):
        (shelf / name).mkdir()
        for file in (shelf / "07_circles").iterdir():
            (shelf / name / file.name).write_bytes(file.read_bytes())
    assert [lab.number for lab in labs(shelf)] == ["03", "07", "12"]


def test_card_and_functions(shelf: Path) -> None:
    lab = find_lab("7", shelf)
    assert (lab.card.title, lab.card.minutes, lab.functions) == ("Circles", 20, ("area", "girth"))


def test_lab_without_a_file_is_refused(shelf: Path) -> None:
    (shelf / "07_circles" / "solution.py").unlink()
    with pytest.raises(InvalidData, match=r"has no solution\.py"):
        labs(shelf)


def test_ladder_of_two_steps_is_refused(shelf: Path) -> None:
    hints = shelf / "07_circles" / "hints.toml"
    hints.write_text(hints.read_text().replace('"Twice pi.", ', ""))
    with pytest.raises(InvalidData, match=r"length 3.*ladder"):
        labs(shelf)


def test_the_shipped_labs_start_at_the_loop() -> None:
    assert labs()[0].name == "00_the_loop"
