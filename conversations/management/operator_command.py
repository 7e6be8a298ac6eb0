"""The base class of the commands that operators run by hand or from cron."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter

from chatapi.database.server_parameters import parameters_of_commands


class HelpAsWritten(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the line breaks of a command's description and epilog."""


class OperatorCommand(BaseCommand):
    """Show `epilog` below the options in the command's help. Options have to be written out."""

    epilog = ""
    # System checks import every URL and view, which slows the start of a cron job.
    requires_system_checks = ()

    def execute(self, *args: Any, **options: Any) -> Any:
        with parameters_of_commands():
            return super().execute(*args, **options)

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        # Otherwise `--force` would be `--force-color`, and a typing error another option.
        form: dict[str, Any] = {"epilog": self.epilog, "formatter_class": HelpAsWritten, "allow_abbrev": False}
        return super().create_parser(prog_name, subcommand, **form, **options)
