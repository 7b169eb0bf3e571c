"""Skills: the model knows of each by name, reads it on demand, and nothing outside its folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from narrator.errors import ConfigurationError
from tyler import Agent
from tyler.skills import Skill, load
from tyler.testing import ScriptedModel, calls

FRONT = "---\nname: {name}\ndescription: {description}\n---\n"
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A skill's folder in skills/, with files."""

    def make(name: str, text: str | bytes | None = None, **files: str | bytes) -> Path:
        folder = tmp_path / "skills" / name
        folder.mkdir(parents=True)
        if text is None:
            text = FRONT.format(name=name, description=f"For {name}.") + "# How\n"
        for file, content in {"SKILL.md": text, **files}.items():
            path = folder / file.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    return make


@pytest.fixture
def skill(make: Make) -> Skill:
    """A skill with two other files."""
    make("pdf")
    folder = make("mail", **{"references__a.md": "About a.", "scripts__run.py": "print()"})
    return load(folder).by_name["mail"]


async def test_an_agent_reads_a_skill_when_it_needs_it(make: Make, tmp_path: Path) -> None:
    make("mail", FRONT.format(name="mail", description="Writing mail") + "Be polite. See references/a.md\n")
    make("pdf", **{"references__a.md": "About a."})
    found = load(tmp_path / "skills")
    assert found.purpose.splitlines()[-2:] == ["- mail: Writing mail", "- pdf: For pdf."]
    wanted = calls(
        ("read_skill", {"name": "mail"}),
        ("read_skill", {"name": "pdf", "file": "references/a.md"}),
        ("read_skill", {"name": "pdfs"}),
        ("read_skill", {"name": "pdf", "file": "../mail/SKILL.md"}),
    )
    model = ScriptedModel([wanted, "Done"])
    agent = Agent(model=model, purpose=f"To help\n\n{found.purpose}", tools=found.tools)
    result = await agent.go("Write a mail")
    texts = [message.text for message in result.new_messages if message.role == "tool"]
    assert texts[0] == "Be polite. See references/a.md"
    assert texts[1] == "About a."
    assert "There is no skill 'pdfs'. Did you mean 'pdf'? The skills are: mail, pdf" in texts[2]
    assert "'../mail/SKILL.md' of the skill 'pdf' is no path inside the folder" in texts[3]
    assert "Writing mail" in model.requests[0].messages[0]["content"]


def test_the_tool_only_reads(make: Make, tmp_path: Path) -> None:
    make("pdf")
    (read_skill,) = load(tmp_path / "skills").tools
    assert (read_skill.name, read_skill.risk, read_skill.effect) == ("read_skill", "read", "read")
    assert set(read_skill.parameters["properties"]) == {"name", "file"}
    assert read_skill.parameters["required"] == ["name"]


def test_a_skill_names_its_other_files(skill: Skill) -> None:
    for name in (".git", "__pycache__"):
        (skill.folder / name).mkdir()
        (skill.folder / name / "x.md").write_text("x")
    assert skill.read() == (
        "# How\n\nOther files of this skill, for read_skill's `file`: references/a.md, scripts/run.py"
    )
    assert skill.read("SKILL.md") == skill.read()
    assert skill.read("./references/a.md") == "About a."


def test_a_skill_is_read_as_it_is_now(skill: Skill) -> None:
    (skill.folder / "references" / "a.md").write_text("Anew.")
    assert skill.read("references/a.md") == "Anew."


@pytest.mark.parametrize(
    "file",
    [
        "",
        ".",
        "..",
        "../pdf/SKILL.md",
        "references/../../pdf/SKILL.md",
        "references/../references/a.md",
        "/etc/passwd",
        "//etc/passwd",
        "././/etc/passwd",
        "references",
        "references/",
        "references//a.md",
        "references\\a.md",
        "..\\pdf\\SKILL.md",
        "~/.ssh/id_rsa",
        "a\0.md",
        "\ud800.md",
        "no.md",
        "x" * 5000,
        "a/" * 3000 + "a",
        "file:///etc/passwd",
        "skill.md",
    ],
)
def test_no_path_leads_out_of_the_folder(skill: Skill, file: str) -> None:
    with pytest.raises(
        ValueError, match=r"of the skill 'mail' (is no path|is no regular file|cannot be read)"
    ) as error:
        skill.read(file)
    assert "Its other files: references/a.md, scripts/run.py" in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("make_it", "said"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "cannot be read"),
        (lambda path: path.symlink_to("references/a.md"), "cannot be read"),
        (os.mkfifo, "is no regular file"),
        (Path.mkdir, "is no regular file"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not UTF-8 text"),
        (lambda path: path.write_bytes(b"a\0b"), "is no text"),
        (lambda path: path.write_bytes(b"x" * 100_001), "has more than 100,000 bytes"),
    ],
)
def test_what_is_no_text_file_of_the_skill_is_refused(
    skill: Skill, make_it: Callable[[Path], object], said: str
) -> None:
    make_it(skill.folder / "thing.md")
    with pytest.raises(ValueError, match=f"'thing.md' of the skill 'mail' {said}"):
        skill.read("thing.md")


def test_no_link_on_the_way_is_followed(skill: Skill, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.md").write_text("secret")
    (skill.folder / "way").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="cannot be read"):
        skill.read("way/secret.md")
    assert "way" not in skill.read()
    skill.folder.rename(tmp_path / "mail")
    skill.folder.symlink_to(tmp_path / "mail")
    with pytest.raises(ValueError, match="cannot be read"):
        skill.read()


def test_no_file_descriptor_is_left_open(skill: Skill) -> None:
    (skill.folder / "folder").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    for file in ("no/no.md", "references/no.md", "folder", "references/a.md", "way/../x"):
        for _ in range(3):
            with suppress(ValueError):
                skill.read(file)
    assert len(os.listdir("/proc/self/fd")) == before


def test_listed_files_are_bounded_and_shown_plain(make: Make) -> None:
    folder = make("pdf", **{f"f{i:03}.md": "x" for i in range(80)})
    (folder / "a\x1b[31m.md").write_text("x")
    (folder / ".hidden").write_text("x")
    (folder / "f0000.md").symlink_to(folder / "f000.md")
    listed = load(folder).by_name["pdf"].files()
    assert len(listed) == 50
    assert listed == [f"f{i:03}.md" for i in range(50)]


def test_one_skill_several_folders_and_links_to_folders(make: Make, tmp_path: Path) -> None:
    one = make("pdf")
    make("mail")
    (tmp_path / "skills" / "notes").mkdir()  # no skill, and not in the way
    (tmp_path / "skills" / ".git").mkdir()
    (tmp_path / "skills" / "README.md").write_text("x")
    assert list(load(one).by_name) == ["pdf"]
    assert list(load(tmp_path / "skills").by_name) == ["mail", "pdf"]
    (tmp_path / "link").symlink_to(tmp_path / "skills")  # what the developer names may be a link
    assert list(load(str(tmp_path / "link")).by_name) == ["mail", "pdf"]
    with pytest.raises(ConfigurationError, match="two skills are named 'pdf'"):
        load(tmp_path / "skills", one)


def test_folders_are_found_after_a_change_of_directory(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("pdf")
    monkeypatch.chdir(tmp_path)
    found = load("skills")
    monkeypatch.chdir("/")
    assert found.by_name["pdf"].read() == "# How"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "SKILL.md: must begin with front matter"),
        ("# How\n", "SKILL.md: must begin with front matter"),
        ("---\nname: pdf\ndescription: x\n", "SKILL.md: must begin with front matter"),
        ("---\n---\n", "SKILL.md:2: is empty"),
        ("---\n- name\n---\n", "SKILL.md:2: must be a mapping with name and description, not a list"),
        ("---\nname: pdf\n---\n", "SKILL.md: description is missing between the --- lines"),
        ("---\ndescription: x\n---\n", "SKILL.md: name is missing between the --- lines"),
        ("---\nname: pdf\ndescription: Use when: x\n---\n", "SKILL.md:3: is no YAML: mapping values"),
        ("---\nname: pdf\ndescription: [x]\n---\n", "SKILL.md:3: description: must be text, not a list"),
        ("---\nname: pdf\ndescription: ' '\n---\n", "SKILL.md:3: description: has 0 characters; say in 1 to 1024"),
        (FRONT.format(name="pdf", description="x" * 1025), "SKILL.md:3: description: has 1025 characters"),
        (FRONT.format(name="PDF", description="x"), "SKILL.md:2: name: 'PDF' must be 1 to 64 of a-z, 0-9 and single"),
        (FRONT.format(name="pdf--x", description="x"), "SKILL.md:2: name: 'pdf--x' must be"),
        (FRONT.format(name="-pdf", description="x"), "SKILL.md:2: name: '-pdf' must be"),
        (FRONT.format(name="'pdf\n\n  evil'", description="x"), "SKILL.md:2: name: 'pdf evil' must be"),
        (FRONT.format(name="a" * 65, description="x"), "SKILL.md:2: name: 'aaaa"),
        (FRONT.format(name="word", description="x"), "SKILL.md:2: name: 'word' must be the folder's name, 'pdf'"),
        ("---\nname: &a pdf\ndescription: *a\n---\n", "SKILL.md:3: the alias *a is not taken"),
        ("---\nname: !!python/name:os.system\n---\n", "SKILL.md:2: name: the tag '!!python/name:os.system'"),
        ("---\nname: pdf\nname: pdf\n---\n", "SKILL.md:3: name: is there twice, first in line 2"),
        (b"---\nname: pdf\xff\n---\n", "SKILL.md: is not UTF-8 text"),
        (b"---\nname: pdf\ndescription: x\n---\n" + b"x" * 100_001, "SKILL.md: has more than 100,000 bytes"),
    ],
)
def test_skills_that_break_the_convention_are_named(make: Make, tmp_path: Path, text: str | bytes, said: str) -> None:
    make("pdf", text)
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path / "skills")
    assert str(error.value).removeprefix(f"{tmp_path}/skills/pdf/").startswith(said)


def test_what_others_put_into_the_front_matter_is_left_alone(make: Make) -> None:
    text = "\ufeff---\r\nname: pdf\r\ndescription: >\r\n  Two\r\n  lines.\r\nallowed-tools: Bash(git:*) Read\r\n"
    text += "metadata:\r\n  version: '1'\r\nlicense: MIT\r\n---\r\nDo it.\r\n---\r\nMore.\r\n"
    (skill,) = load(make("pdf", text)).by_name.values()
    assert skill.description == "Two lines."
    assert skill.read() == "Do it.\r\n---\r\nMore."


def test_folders_that_hold_no_skill_are_named(make: Make, tmp_path: Path) -> None:
    folder = make("pdf")
    (folder / "SKILL.md").rename(folder / "skill.md")
    with pytest.raises(ConfigurationError, match=r"skill.md' must be named SKILL.md"):
        load(tmp_path / "skills")
    (folder / "skill.md").unlink()
    with pytest.raises(ConfigurationError, match="holds no skill"):
        load(tmp_path / "skills")
    with pytest.raises(ConfigurationError, match="cannot be read: Not a directory"):
        load(__file__)
    for path in ("no", "\0", "x" * 5000):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            load(path)


def test_a_skill_that_is_a_link_is_refused(make: Make, tmp_path: Path) -> None:
    make("mail")
    elsewhere = make("pdf").rename(tmp_path / "pdf")
    (tmp_path / "skills" / "pdf").symlink_to(elsewhere)
    with pytest.raises(ConfigurationError, match="is a link; name the folder it leads to"):
        load(tmp_path / "skills")
    assert list(load(elsewhere).by_name) == ["pdf"]


def test_a_skill_file_that_is_a_link_is_refused(make: Make, tmp_path: Path) -> None:
    folder = make("pdf")
    (folder / "SKILL.md").rename(tmp_path / "other.md")
    (folder / "SKILL.md").symlink_to(tmp_path / "other.md")
    with pytest.raises(ConfigurationError, match=r"SKILL.md: cannot be read"):
        load(tmp_path / "skills")


def test_too_many_skills_are_refused(make: Make, tmp_path: Path) -> None:
    for i in range(201):
        make(f"s{i}")
    with pytest.raises(ConfigurationError, match="brings more than 200 skills"):
        load(tmp_path / "skills")
