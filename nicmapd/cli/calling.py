"""How a command takes its words: none is empty, and an option that can mean one thing only is not given two."""

from __future__ import annotations

import click


class Command(click.Command):
    """click lets the last of several win, in silence: a script that means two NICs would get one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            self._refuse_repeated(ctx, args)
        left = super().parse_args(ctx, args)
        for parameter in self.params:
            if isinstance(parameter, click.Argument) and ctx.params.get(parameter.name or "") == "":
                # An unset variable of a script: without the word it would be another call, of more than was meant.
                raise click.UsageError(f"{parameter.human_readable_name} is empty", ctx)
        return left

    def _refuse_repeated(self, ctx: click.Context, args: list[str]) -> None:
        """Raises `UsageError`."""
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        seen: dict[str, click.Option] = {}
        for option in given:
            if not isinstance(option, click.Option) or option.multiple or option.is_bool_flag or option.count:
                continue
            before = seen.setdefault(option.name or "", option)
            if before is not option:
                raise click.UsageError(f"only one of {before.opts[0]}, {option.opts[0]} can be given", ctx)
            if given.count(option) > 1 and not option.is_flag:
                raise click.UsageError(f"{option.opts[0]} is given more than once", ctx)
