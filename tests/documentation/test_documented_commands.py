"""Every command of the documentation exists, with its options; every verb is told of outside of the generated page."""

from __future__ import annotations

import click
import pytest

from documentation.pages import READ_BY_USERS, ROOT, Command, commands
from penstock.cli.main import VERBS, cli

GENERATED = {"docs/cli.md"}
FOUND = [
    command
    for page in READ_BY_USERS
    if str(page.relative_to(ROOT)) not in GENERATED
    for command in commands(page)
]
NO_VERB = {"VERB", "--help", "--version", "-h"}


def named(words: tuple[str, ...]) -> tuple[click.Command, str, tuple[str, ...]] | None:
    """The command of ``words``, its full name, and the words after that; None for a name that stands for any."""
    if words[0] in NO_VERB:
        return None
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None, f"no verb {words[0]!r}"
    name, rest = words[0], words[1:]
    if isinstance(command, click.Group) and rest:
        inner = command.commands.get(rest[0])
        assert inner is not None, f"no command {rest[0]!r} of {words[0]!r}"
        return inner, f"{name} {rest[0]}", rest[1:]
    return command, name, rest


def fault_of(command: Command) -> str | None:
    """What click would say of the options of ``command``; files need not exist."""
    try:
        found = named(command.words)
        if found is not None:
            check_options(*found, is_whole=command.is_whole)
    except (click.ClickException, AssertionError) as fault:
        text = fault.format_message() if isinstance(fault, click.ClickException) else str(fault)
        return f"{command.place}: penstock {' '.join(command.words)}: {text}"
    return None


def check_options(command: click.Command, name: str, rest: tuple[str, ...], *, is_whole: bool) -> None:
    """Raise for an option that is not there or, in a whole command, a value that its type refuses."""
    context = click.Context(command, info_name=name, **cli.context_settings)
    if not is_whole:
        parameters = command.get_params(context)
        known = {option for one in parameters for option in (*one.opts, *one.secondary_opts)}
        for word in rest:
            option = word.partition("=")[0].rstrip(",.;:")
            assert not option.startswith("-") or option in known, f"no option {option!r}"
        return
    values, _, _ = command.make_parser(context).parse_args(list(rest))
    for parameter in command.get_params(context):
        value = values.get(parameter.name or "")
        if value is not None and not isinstance(parameter.type, click.Path | click.File):
            parameter.type_cast_value(context, value)


def test_there_are_commands_of_every_form():
    # Each form was found in some page when this was written; none would be found if the reader of pages broke.
    assert len([one for one in FOUND if one.is_whole]) > 50
    assert len([one for one in FOUND if not one.is_whole]) > 50


@pytest.mark.parametrize("page", sorted({one.place.partition(":")[0] for one in FOUND}))
def test_documented_commands_exist(page: str):
    faults = [fault_of(one) for one in FOUND if one.place.partition(":")[0] == page]
    assert [fault for fault in faults if fault] == []


def test_every_command_is_documented():
    """In a page that a person wrote: the generated page lists options, and does not say what a verb is for."""
    told = {found[1] for one in FOUND if (found := _named_or_none(one.words))}
    groups = {verb for verb in VERBS if isinstance(cli.get_command(click.Context(cli), verb), click.Group)}
    assert set(VERBS) - groups - told == set()
    for group in groups:
        command = cli.get_command(click.Context(cli), group)
        assert isinstance(command, click.Group)
        assert {f"{group} {name}" for name in command.commands} - told == set()


def _named_or_none(words: tuple[str, ...]) -> tuple[click.Command, str, tuple[str, ...]] | None:
    try:
        return named(words)
    except AssertionError:
        return None


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("plam", "s.yaml"), "no verb"),
        (("plan", "s.yaml", "--hodl", "0.99"), "No such option"),
        (("plan", "s.yaml", "--planner", "best"), "is not one of"),
        (("plan", "s.yaml", "--gap"), "requires an argument"),
        (("import", "everything"), "no command"),
    ],
)
def test_a_wrong_command_is_found(words: tuple[str, ...], fault: str):
    assert fault in (fault_of(Command("page", words, is_whole=True)) or "")
    assert fault_of(Command("page", ("plan", "s.yaml", "--hold", "0.99"), is_whole=True)) is None
