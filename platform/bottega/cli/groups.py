"""A command group whose first argument may also be a name: `bottega deploy eta` beside `bottega deploy status`."""

from typing import Any

from typer.core import TyperGroup


class NameFirst(TyperGroup):
    """Hands an unknown first argument to the command called `default`, which is the group's main job."""

    default = "run"

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Resolve as usual, or to the default command where the first argument names none."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = [self.default, *args]
        return super().resolve_command(ctx, args)
