"""The command line of a job, whose flags may stand in a file, too."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jobs.run.terminal import say, write_json


class Parser(argparse.ArgumentParser):
    """argparse, in which a mistake is a ValueError of one sentence, and no flag may be cut short."""

    def __init__(self, job: str, **texts: Any) -> None:
        """`texts` are argparse's: description and epilog, whose lines stay as they are, and usage."""
        super().__init__(
            prog=f"python -m jobs.{job}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **texts,
        )
        self._takes_file = False

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} ({self.prog} --help explains)")

    def take_config_file(self) -> None:
        """Adds --config and --print-config: all flags may stand in a file."""
        self._takes_file = True
        add = self.add_argument_group("these flags in a file").add_argument
        add(
            "--config",
            metavar="FILE",
            help="YAML with flags, such as max-pages: 2, or question: [What is the total?]; ${NAME} is "
            "replaced from the environment, and flags of the command line replace those of the file",
        )
        add(
            "--print-config",
            action="store_true",
            help="print all settings as such a file, without passwords and keys, and end",
        )

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """As argparse's; with `take_config_file`, a file's flags are among them, and neither of its own.

        Raises ValueError. Ends the process where --help or --print-config was asked for.
        """
        words = list(sys.argv[1:] if args is None else args)
        # Before the first mistake is said: `rules_of` does so for one that stands in a file.
        write_json("--log-json" in words and "--log-json" in self._option_string_actions)
        if not self._takes_file:
            return super().parse_args(words, namespace)
        settings, more = self._of_file(words)
        given = super().parse_args([*more, *words], namespace)
        if given.print_config:
            from jobs.run.config_file import config_text

            say(config_text(self, given, settings), sys.stdout, end="")
            self.exit()
        del given.config, given.print_config
        return given

    def _of_file(self, words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """What a file says that the command line does not say otherwise, as it stands there and in words."""
        look = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        look.add_argument("--config", nargs="?")
        name = look.parse_known_args(words)[0].config
        if name is None:
            return {}, []  # not given, or without a value, which the parser says
        from jobs.run.config_file import ConfigFileError, read_settings, words_of

        path = Path(name).expanduser()
        settings = read_settings(path, self)
        flags = self._option_string_actions
        given = {id(flags[flag]) for word in words if (flag := word.partition("=")[0]) in flags}
        left = {name: value for name, value in settings.items() if id(flags[f"--{name}"]) not in given}
        more = words_of(left, path, self)
        self._check_alone(more, f"--config {path}", ConfigFileError)
        return left, more

    def _check_alone(self, words: list[str], where: str, mistake: type[ValueError]) -> None:
        """Raises a mistake that says where it is, if the words are wrong by themselves."""
        needed = [action for action in self._actions if action.required]
        for action in needed:
            action.required = False
        try:
            self.parse_known_args(words)
        except ValueError as error:
            raise mistake(f"{where}: {error}") from error
        finally:
            for action in needed:
                action.required = True
