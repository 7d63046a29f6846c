"""Which files of a trial's folder are kept with its checkpoints, as a file spells it."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from batchyard.model.file_patterns import pattern_fault
from batchyard.model.spec_base import SpecModel, fault

FILE_BYTES = 16 * 1024**2
TOTAL_BYTES = 256 * 1024**2
_LARGEST = 1024**4


def _below_the_folder(pattern: str) -> str:
    wrong = pattern_fault(pattern)
    if wrong:
        raise fault(wrong, "write for instance out/ or reports/**/*.md")
    return pattern


FilePattern = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_below_the_folder)]


class FileTracking(SpecModel):
    """The files of a trial's folder that are kept with each checkpoint, and put back when it is gone back to."""

    paths: tuple[FilePattern, ...] = Field(
        min_length=1,
        max_length=64,
        description="Files and folders, relative to the trial's folder; `*` is part of a name, `**` any folders.",
    )
    ignore: tuple[FilePattern, ...] = Field(
        default=("__pycache__", "*.pyc", ".git"),
        max_length=64,
        description="What is left out of them; without a `/`, every file and folder of that name.",
    )
    max_file_bytes: int = Field(
        default=FILE_BYTES, ge=1, le=_LARGEST, description="Longest file; a trial with a longer one fails."
    )
    max_total_bytes: int = Field(
        default=TOTAL_BYTES, ge=1, le=_LARGEST, description="Most that all of them may be at one boundary."
    )
    max_files: int = Field(default=1000, ge=1, le=100_000, description="Most files at one boundary.")
