"""Skills: instructions for certain tasks, which the model reads when it has such a task, and not before.

A skill is a folder with a SKILL.md, as the Agent Skills convention has it: YAML front matter with `name` and
`description`, then Markdown. Nothing of a skill is run here; what it says is as trusted as the agent's purpose.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from narrator.errors import ConfigurationError
from tyler._config_node import Place, parse_yaml, shown
from tyler._text_file import TextUnreadable, read_text_beneath
from tyler.tools import Tool, tool

__all__ = ["Skill", "Skills", "load"]

MAX_SKILLS = 200
MAX_SKILL_BYTES = 100_000  # what a tool's result keeps
_FILE = "SKILL.md"
_MAX_DESCRIPTION_CHARS = 1024
_MAX_LISTED_FILES = 50
_INTRODUCTION = (
    "You have skills: instructions for certain tasks. When a task is one that a skill is for, first read the skill "
    "with the tool read_skill, then do what it says. The skills:"
)


@dataclass(frozen=True)
class Skill:
    """One skill: its name, what it is for, and the folder it is in."""

    name: str
    description: str
    folder: Path

    def read(self, file: str | None = None) -> str:
        """The skill's text without its front matter, or another text file of its folder, as they are now.

        ValueError, in words for the model, for a file that is not there, leads out of the folder, has more than
        100,000 bytes or is no text. No link is followed.
        """
        if file is None or file == _FILE:
            return self._instructions()
        parts = file.removeprefix("./").split("/")
        try:
            return read_text_beneath(self.folder, parts, MAX_SKILL_BYTES)
        except TextUnreadable as error:
            files = ", ".join(self.files()) or "none"
            raise ValueError(
                f"The file {shown(file)} of the skill {self.name!r} {error}. Its other files: {files}"
            ) from error

    def files(self) -> list[str]:
        """The skill's other files, as paths inside its folder, sorted; the first 50, hidden ones left out."""
        found: list[str] = []
        for at, folders, names in os.walk(self.folder):  # walks into no link
            folders[:] = sorted(name for name in folders if name[0] not in "._")
            inside = [Path(at, name) for name in sorted(names) if name[0] != "."]
            found += [p.relative_to(self.folder).as_posix() for p in inside if not p.is_symlink() and p.is_file()]
            if len(found) > _MAX_LISTED_FILES:
                break
        return [name for name in found if name != _FILE and name.isprintable()][:_MAX_LISTED_FILES]

    def _instructions(self) -> str:
        try:
            _, _, text = _split(read_text_beneath(self.folder, [_FILE], MAX_SKILL_BYTES), Place(str(self.folder)))
        except TextUnreadable as error:
            raise ValueError(f"The skill {self.name!r} {error}") from error
        files = self.files()
        more = f"\n\nOther files of this skill, for read_skill's `file`: {', '.join(files)}" if files else ""
        return text.strip() + more


@dataclass(frozen=True)
class Skills:
    """Skills by name. `purpose` is for the agent's purpose, `tools` for its tools."""

    by_name: Mapping[str, Skill]

    @property
    def purpose(self) -> str:
        """What the model has to know beforehand: each skill's name and what it is for."""
        lines = [f"- {skill.name}: {skill.description}" for skill in self.by_name.values()]
        return "\n".join([_INTRODUCTION, *lines])

    @property
    def tools(self) -> list[Tool]:
        """One tool, `read_skill(name, file=None)`: risk and effect "read"."""
        return [tool(name="read_skill", risk="read", effect="read", touches=())(self._read_skill)]

    def _read_skill(self, name: str, file: str | None = None) -> str:
        """Read a skill: the instructions for a kind of task. Do it before you begin with such a task.

        Args:
            name: The skill's name
            file: Another file of the skill, by the path that the skill names; without it the skill itself
        """
        if name not in self.by_name:
            close = difflib.get_close_matches(name[:64], self.by_name, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"There is no skill {shown(name)}.{hint} The skills are: {', '.join(self.by_name)}")
        return self.by_name[name].read(file)


def load(*folders: str | Path) -> Skills:
    """The skills in these folders; a folder may be one skill itself, or hold several in folders of their own.

    Read are the names and descriptions; the rest is read when the model asks for it. ConfigurationError, with file
    and line, for a folder without skills, a skill that breaks the convention, a skill that is a link, and two of one
    name.
    """
    found: dict[str, Skill] = {}
    for folder in folders:
        for skill in _skills_in(Path(folder)):
            if other := found.get(skill.name):
                raise ConfigurationError(
                    f"two skills are named {skill.name!r}: {str(other.folder)!r} and {str(skill.folder)!r}"
                )
            found[skill.name] = skill
            if len(found) > MAX_SKILLS:
                raise ConfigurationError(f"{str(folder)!r} brings more than {MAX_SKILLS} skills; name fewer folders")
    return Skills(found)


def _skills_in(folder: Path) -> Iterator[Skill]:
    try:
        base = folder.resolve(strict=True)
        inside = sorted(os.scandir(base), key=lambda entry: entry.name)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"the folder of skills {str(folder)!r} cannot be read: {reason}") from error
    if _holds_skill(base):
        yield _skill(base)
        return
    empty = True
    for entry in inside:
        path = base / entry.name
        if entry.name[0] == "." or not path.is_dir() or not _holds_skill(path):
            continue
        if entry.is_symlink():
            raise ConfigurationError(f"the skill {str(path)!r} is a link; name the folder it leads to instead")
        empty = False
        yield _skill(path)
    if empty:
        raise ConfigurationError(f"{str(folder)!r} holds no skill: no folder in it has a {_FILE}")


def _holds_skill(folder: Path) -> bool:
    names = os.listdir(folder)
    if _FILE in names:
        return True
    if other := next((name for name in names if name.lower() == _FILE.lower()), None):
        raise ConfigurationError(f"{str(folder / other)!r} must be named {_FILE}")
    return False


def _skill(folder: Path) -> Skill:
    place = Place(str(folder / _FILE))
    try:
        text = read_text_beneath(folder, [_FILE], MAX_SKILL_BYTES)
    except TextUnreadable as error:
        raise place.error(str(error)) from error
    front, line, _ = _split(text, place)
    node = parse_yaml(front, replace(place, line=line))
    if not isinstance(node.value, dict):
        raise node.wrong("a mapping with name and description")
    said: dict[str, str] = {}
    for key in ("name", "description"):
        if key not in node.value:
            raise place.error(f"{key} is missing between the --- lines")
        value = node.value[key]
        if not isinstance(value.value, str):
            raise value.wrong("text")
        said[key] = " ".join(value.value.split())
    name, description = said["name"], said["description"]
    if not re.fullmatch(r"(?=.{1,64}$)[a-z0-9]+(-[a-z0-9]+)*", name):
        raise node.value["name"].place.error(f"{shown(name)} must be 1 to 64 of a-z, 0-9 and single hyphens inside")
    if name != folder.name:
        raise node.value["name"].place.error(f"{name!r} must be the folder's name, {folder.name!r}")
    if not 0 < len(description) <= _MAX_DESCRIPTION_CHARS:
        raise node.value["description"].place.error(
            f"has {len(description)} characters; say in 1 to {_MAX_DESCRIPTION_CHARS} what the skill does, and when"
        )
    return Skill(name, description, folder)


def _split(text: str, place: Place) -> tuple[str, int, str]:
    """Front matter, the number of its first line, and what comes behind it."""
    found = re.match(r"---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", text, re.DOTALL | re.MULTILINE)
    if not found:
        raise place.error("must begin with front matter: a line ---, name: and description:, a line ---")
    return found[1], 2, text[found.end() :]
