"""``run``, ``quote``, ``channel``."""

from __future__ import annotations

from typing import Annotated

import typer

from rowen.cli.options import MODEL, HomeAt, Json, PasswordFile, node_of

channel_group = typer.Typer(help="Open, list and close payment channels.", no_args_is_help=True)

Provider = Annotated[str, typer.Argument(metavar="PROVIDER", help="Multiaddress or 0x address.")]
Providers = Annotated[
    list[str] | None,
    typer.Option(
        "--provider",
        metavar="ADDR",
        help="Only this provider: a multiaddress, or 0x… of a configured one; may be repeated.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command(rich_help_panel="Buy")(run)
    app.command(rich_help_panel="Buy")(quote)
    app.add_typer(channel_group, name="channel", rich_help_panel="Buy")


def run(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="A question; - reads stdin.")],
    model: Annotated[str, typer.Option(help="Name in the offers.")] = MODEL,
    max_cost: Annotated[
        str, typer.Option(metavar="USD", help="Never pay more. [client.max_cost]")
    ] = "",
    max_output: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler.")] = 0,
    provider: Providers = None,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Ask a question; the answer streams to stdout and is paid for as it comes."""
    node = node_of(home)
    from rowen.cli.asking import Question, ask

    question = Question(
        prompt=prompt,
        model=model,
        max_cost=max_cost,
        max_output=max_output,
        temperature=temperature,
        seed=seed,
        providers=tuple(provider or ()),
    )
    return ask(node, password_file, question, as_json=as_json)


def quote(
    model: Annotated[str, typer.Argument(help="Name in the offers.")] = MODEL,
    provider: Providers = None,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Show who sells a model now, best first, and why the others will not do."""
    node = node_of(home)
    from rowen.cli.quoting import show_quote

    return show_quote(node, password_file, model, tuple(provider or ()), as_json=as_json)


@channel_group.command("open")
def channel_open(
    provider: Provider,
    usd: Annotated[str, typer.Argument(metavar="USD", help="To lock, such as 5 or 0.50.")],
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Lock money for one provider; again adds to it."""
    node = node_of(home)
    from rowen.cli.channels import open_channel

    return open_channel(node, password_file, provider, usd, as_json=as_json)


@channel_group.command("list")
def channel_list(
    home: HomeAt = None, password_file: PasswordFile = None, as_json: Json = False
) -> int:
    """List this client's channels."""
    node = node_of(home)
    from rowen.cli.channels import list_channels

    return list_channels(node, password_file, as_json=as_json)


@channel_group.command("close")
def channel_close(
    provider: Provider,
    unlock: Annotated[
        bool, typer.Option("--unlock", help="Second step, after the delay: take the rest back.")
    ] = False,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Ask for the rest of a channel, and after the delay take it with --unlock."""
    node = node_of(home)
    from rowen.cli.channels import close_channel

    return close_channel(node, password_file, provider, takes=unlock, as_json=as_json)
