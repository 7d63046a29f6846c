"""What may stand in ``packages``: which package and file each requirement names, and what is refused."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from batchyard.model.requirement import Requirement, parse_requirement, required


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("numpy", "numpy", ""),
        ("Zope.Interface[test] >=1,<2; python_version < '4'", "zope-interface", ""),
        ("a (>=1)", "a", ""),
        ("a@https://example.org/a-1.0.tar.gz", "a", ""),
        ("a @ https://${TOKEN}@example.org/a-1.0.whl", "a", ""),
        ("a @ git+ssh://git@example.org/a.git", "a", ""),
        ("a @ https://${NAME}@example.org/a.whl", "a", ""),
        ("a @ https://${NAME}:${WORD}@example.org/a.whl", "a", ""),
        ("a @ git+https://oauth2:${WORD}@example.org/a.git", "a", ""),
        ("./wheels/my_motto-1.0-py3-none-any.whl", "my-motto", "./wheels/my_motto-1.0-py3-none-any.whl"),
        ("../my-motto-1.0.tar.gz", "my-motto", "../my-motto-1.0.tar.gz"),
        ("/projects/motto", "", "/projects/motto"),
        ("motto[fast] @ ./motto", "motto", "./motto"),
    ],
)
def test_a_requirement_tells_its_package_and_its_file(text: str, name: str, path: str) -> None:
    assert parse_requirement(text) == Requirement(text, name, path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--index-url=https://example.org", "UV_INDEX"),
        ("-r more.txt", "is no requirement"),
        ("numpy scipy", "is no requirement"),
        ("numpy=1", "is no requirement"),
        (" numpy", "has space around it"),
        ("numpy\n--pre", "or lines in it"),
        ("a @ https://me:secret@example.org/a.whl", "has a password in it"),
        ("a @ https://${NAME}:secret@example.org/a.whl", "has a password in it"),
        ("a @ https://secret@example.org/a.whl", "has a password in it"),
        ("Batchyard==2", "is what runs the trials"),
    ],
)
def test_what_is_no_requirement_is_refused_with_a_way_out(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        required(text)


def test_a_path_is_taken_from_the_folder_of_the_source() -> None:
    source = PurePosixPath("/code/flow")

    assert required("motto[fast] @ ./motto").in_folder(source).text == "motto[fast] @ /code/flow/motto"
    assert required("./motto").in_folder(source) == Requirement("/code/flow/motto", "", "/code/flow/motto")
    assert required("numpy").in_folder(source) == required("numpy")
