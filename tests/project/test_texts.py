"""Texts for people: every English sentence has its Chinese one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import Environment
from jinja2.ext import extract_from_ast

import migrations
import service
import sync_protocol
from service.kit.errors import CATALOGUE
from service.kit.localization import chinese, in_language, language_of
from service.kit.validation_errors import FAULTS, SINGULAR
from service.pages import templates
from sync_protocol.limits import showable
from sync_protocol.texts import Text, Word, fitted, parameters, restored, stored

# Where a sentence stands as the first argument, and where as the second.
_FIRST = {"Text", "Sentence"}
_SECOND = {"Problem", "HoldReason"}
_ALONE = {"refused", "BrokenEnvelope", "InvalidValue", "invalid_type", "NotOurs"}
_FOLDERS = [Path(str(package.__file__)).parent for package in (service, sync_protocol, migrations)]


def _sources(folder: Path) -> list[Path]:
    """The modules of a package; what its tests say nobody is shown."""
    return sorted(file for file in folder.rglob("*.py") if "tests" not in file.parts)


def calls() -> Iterator[tuple[ast.expr, str]]:
    """Every place in the code that gives a text: the argument with the text, and where."""
    for folder in _FOLDERS:
        for file in _sources(folder):
            for node in ast.walk(ast.parse(file.read_text())):
                argument = _text_in(node)
                if argument is not None and isinstance(node, ast.Call):
                    yield argument, f"{file.relative_to(folder.parent)}:{node.lineno}"


def variables() -> Iterator[tuple[ast.expr, str]]:
    """Every place that gives a text by a variable which the same function has set: what it was set
    to, and where.
    """
    for folder in _FOLDERS:
        for file in _sources(folder):
            for function in ast.walk(ast.parse(file.read_text())):
                if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    continue
                nodes = [*ast.walk(function)]
                given = {
                    argument.id
                    for node in nodes
                    if (argument := _text_in(node)) and isinstance(argument, ast.Name)
                }
                for node in nodes:
                    if isinstance(node, ast.Assign) and any(
                        isinstance(name, ast.Name) and name.id in given for name in node.targets
                    ):
                        yield node.value, f"{file.relative_to(folder.parent)}:{node.lineno}"


def _text_in(node: ast.AST) -> ast.expr | None:
    """The argument of a call that is a text; None if the node is no such call."""
    if not isinstance(node, ast.Call):
        return None
    name = (
        node.func.id
        if isinstance(node.func, ast.Name)
        else node.func.attr
        if isinstance(node.func, ast.Attribute)
        else ""
    )
    index = 0 if name in _FIRST | _ALONE else 1 if name in _SECOND else None
    return node.args[index] if index is not None and len(node.args) > index else None


def sentences() -> set[str]:
    """Every English sentence that people may be shown."""
    found = {str(kind.title) for kind in CATALOGUE} | {*FAULTS.values(), *SINGULAR}
    for argument, _ in calls():
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            found.add(argument.value)
    return found | in_templates()


def in_templates() -> set[str]:
    """The sentences that stand in the templates of the pages: `_("…")`."""
    found = [
        sentence[0] if isinstance(sentence, tuple) else sentence
        for file in sorted(templates.FOLDER.glob("*.html"))
        for _, _, sentence in extract_from_ast(
            Environment().parse(file.read_text(encoding="utf-8")), ("_",)
        )
    ]
    return {sentence for sentence in found if sentence is not None}


def test_every_sentence_has_its_chinese_and_no_old_one_is_left() -> None:
    assert sentences() == chinese().keys()


def test_no_sentence_is_put_together_outside_the_catalogue() -> None:
    """An f-string or a sum is a different sentence every time, which no catalogue can hold."""
    together = (ast.JoinedStr, ast.BinOp)
    assert [where for argument, where in calls() if isinstance(argument, together)] == []
    assert [
        where for value, where in variables() if isinstance(value, (*together, ast.Constant))
    ] == []


def test_a_chinese_sentence_has_the_parameters_of_the_english_one() -> None:
    wrong = [english for english, zh in chinese().items() if parameters(english) != parameters(zh)]
    assert wrong == []


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh", "zh"),
        ("ZH-Hans-CN", "zh"),
        ("en-GB, zh;q=0.5", "en"),
        ("en;q=0.3, zh;q=0.9", "zh"),
        ("mn-Mong", None),
        ("mn, zh;q=0.1", "zh"),
        ("zh;q=0", None),
        ("*", None),
        ("", None),
        ("zh;q=9, ;;;, en", "en"),
        ("x" * 100_000 + ",zh", None),
    ],
)
def test_a_client_gets_the_language_that_it_prefers_among_ours(
    header: str, language: str | None
) -> None:
    assert language_of(header) == language


def test_a_text_that_was_kept_is_shown_in_any_language_later() -> None:
    text = Text(
        "{field} names the {kind} {id}, which is not here yet.",
        field=Word("household_id", "农牧户"),
        kind=Word("household", "农牧户"),
        id="7",
    )
    kept = stored(
        Text("{problems}.", problems=[Text("{field} {what}", field="phone", what=text), text])
    )
    again = restored(kept)
    assert again == f"phone {text}; {text}."
    assert in_language(again, "zh").count("农牧户") == 4
    assert in_language(again, "en") == again
    for odd in ("", "plain", '{"text":', '{"text": 7}', '{"text": "x", "params": 3}'):
        assert isinstance(restored(odd), str)


def test_a_text_is_brought_to_a_size_and_stays_one_for_every_language() -> None:
    many = [
        Text(
            "{field} {what}",
            field="x" * 500,
            what=Text("is unknown and cannot be kept; leave it out"),
        )
    ] * 300
    short = fitted(Text("{problems}.", problems=many), 1_000)
    assert isinstance(short, Text)
    assert len(short) <= 1_000
    assert "请去掉" in in_language(short, "zh")
    assert len(fitted("x" * 2_000, 1_000)) == 1_000
    kept = fitted(Text("There is no grid ‘{grid}’.", grid="7"), 1_000)
    assert in_language(kept, "zh") == "没有网格“7”。"


def test_what_is_no_character_is_replaced_in_whatever_stands_in_a_text() -> None:
    text = showable(
        Text("{problems}.", problems=[Text("There is no grid ‘{grid}’.", grid="\ud800\0")])
    )
    assert in_language(text, "zh") == "没有网格“\ufffd\ufffd”。。"


# What prints on the terminal, or asks there.
_PRINTS = {"print", "echo", "secho", "confirm", "prompt", "say", "steps", "add_task", "add_column"}
_PRINTS |= {"Table", "Column", "add_row"}
_LETTERS = re.compile(r"[A-Za-z]{2}")
_MARKUP = re.compile(r"\[/?[a-z {}]+\]")
# Whole sentences of the two languages side by side, and words that are the same in both.
_BOTH = re.compile(r"[\u4e00-\u9fff]")
_NAMES = {"client_id: ", "client_secret: ", "purge"}


def printed(node: ast.AST) -> Iterator[str]:
    """The literal words in what a call prints, but for those of a `Text`, and those that only say
    how it is printed.
    """
    is_text = isinstance(node, ast.Call) and _text_in(node) is not None
    if is_text or isinstance(node, (ast.Subscript, ast.Compare)):
        return
    if isinstance(node, ast.FormattedValue) and not isinstance(node.value, ast.IfExp):
        return
    if isinstance(node, ast.JoinedStr) and _BOTH.search(ast.unparse(node)):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        plain = _MARKUP.sub("", node.value)
        if _LETTERS.search(plain) and not _BOTH.search(plain) and plain not in _NAMES:
            yield node.value
    children = [*node.args] if isinstance(node, ast.Call) else [*ast.iter_child_nodes(node)]
    for child in children:
        yield from printed(child)


def literals(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every literal that a module prints, and its line."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        if name not in _PRINTS:
            continue
        given = node.args[1:2] if name == "say" else node.args
        titles = [
            item.value for item in node.keywords if item.arg in ("title", "caption", "header")
        ]
        for argument in (*given, *titles):
            yield from ((word, node.lineno) for word in printed(argument))


def test_no_command_prints_a_sentence_that_is_in_no_catalogue() -> None:
    folder = Path(str(service.__file__)).parent
    files = [
        *(folder / "cli").glob("*.py"),
        folder / "demo" / "run.py",
        folder / "conformance" / "command.py",
        folder / "privacy" / "erasure_console.py",
        folder / "runtime" / "migration_plan.py",
        *(folder.parent / "migrations").glob("*.py"),
    ]
    found = [
        (file.name, line, word)
        for file in files
        for word, line in literals(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_a_sentence_that_is_in_no_catalogue_is_noticed() -> None:
    for code in (
        "console.print(f'The epoch is now {epoch}.')",
        "console.print(f'{path} {\"written\" if changed else 1}')",
        "typer.echo('[red]No such thing.[/red]')",
        "typer.confirm('Erase ' + kind)",
        "Table('what', shown(Text('until')))",
        "Table(title=f'{kind} is gone')",
        "say(console, 'All is well.', 'green')",
        "table.add_row('older', '1')",
        "progress.add_task('parts checked', total=3)",
    ):
        assert [*literals(ast.parse(code))], code
    for code in (
        "say(console, Text('All is well.'), 'green')",
        "console.print(f'[{style}]{escape(shown)}[/{style}]')",
        "console.print(shown(text), style='red')",
    ):
        assert [*literals(ast.parse(code))] == [], code
