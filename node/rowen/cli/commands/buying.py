"""``run``, ``quote``, ``channel``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rowen.cli.options import MODEL, OCR_MODEL, HomeAt, Json, PasswordFile, node_of

channel_group = typer.Typer(help="Open, list and close payment channels.", no_args_is_help=True)

Provider = Annotated[str, typer.Argument(metavar="PROVIDER", help="Multiaddress or 0x address.")]


class Way(StrEnum):
    """How tokens get into a channel; see ``chain.authorizations.Funding``."""

    PERMIT = "permit"
    AUTHORIZATION = "authorization"
    PERMIT2 = "permit2"
    APPROVE = "approve"


By = Annotated[
    Way | None, typer.Option(help="How; by default the first that the token takes. [permit first]")
]
Providers = Annotated[
    list[str] | None,
    typer.Option(
        "--provider",
        metavar="ADDR",
        help="Only this provider: a multiaddress, or 0x… of a configured one; may be repeated.",
    ),
]


class Sort(StrEnum):
    """What counts most; see ``rowen_scheduler.selection.Sort``."""

    PRICE = "price"
    THROUGHPUT = "throughput"
    LATENCY = "latency"
    ENERGY = "energy"


SortBy = Annotated[
    Sort, typer.Option("--sort", help="What counts most; all but the price are providers' claims.")
]


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command(rich_help_panel="Buy")(run)
    app.command(rich_help_panel="Buy")(embed)
    app.command(rich_help_panel="Buy")(ocr)
    app.command(rich_help_panel="Buy")(quote)
    app.add_typer(channel_group, name="channel", rich_help_panel="Buy")


def run(
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="A question, or a text; - reads stdin.")
    ],
    model: Annotated[str, typer.Option(help="Name in the offers.")] = MODEL,
    max_cost: Annotated[
        str, typer.Option(metavar="USD", help="Never pay more. [client.max_cost]")
    ] = "",
    completion: Annotated[
        bool, typer.Option("--completion", help="Go on with the text as it is, as no chat.")
    ] = False,
    max_output: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler.")] = 0,
    provider: Providers = None,
    sort: SortBy = Sort.PRICE,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Ask a question; the answer streams to stdout and is paid for as it comes."""
    node = node_of(home)
    from rowen.cli.asking import Question, ask

    question = Question(
        prompt=prompt,
        is_completion=completion,
        model=model,
        max_cost=max_cost,
        max_output=max_output,
        temperature=temperature,
        seed=seed,
        providers=tuple(provider or ()),
        sort=sort.value,
    )
    return ask(node, password_file, question, as_json=as_json)


def embed(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Texts; - reads stdin, a text a line.")
    ],
    model: Annotated[str, typer.Option(help="Name in the offers.")] = MODEL,
    max_cost: Annotated[
        str, typer.Option(metavar="USD", help="Never pay more. [client.max_cost]")
    ] = "",
    provider: Providers = None,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Turn texts into vectors, one each: a line of JSON numbers on stdout."""
    node = node_of(home)
    from rowen.cli.listing import Wanted, embed_texts

    wanted = Wanted(model=model, max_cost=max_cost, providers=tuple(provider or ()))
    return embed_texts(node, password_file, wanted, tuple(texts), as_json=as_json)


def ocr(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Pictures of pages, PNG or JPEG.")
    ],
    model: Annotated[str, typer.Option(help="Name in the offers.")] = OCR_MODEL,
    max_cost: Annotated[
        str, typer.Option(metavar="USD", help="Never pay more. [client.max_cost]")
    ] = "",
    provider: Providers = None,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Read pages; their text goes to stdout, a form feed between two."""
    node = node_of(home)
    from rowen.cli.listing import Wanted, ocr_files

    wanted = Wanted(model=model, max_cost=max_cost, providers=tuple(provider or ()))
    return ocr_files(node, password_file, wanted, tuple(files), as_json=as_json)


def quote(
    model: Annotated[str, typer.Argument(help="Name in the offers.")] = MODEL,
    provider: Providers = None,
    sort: SortBy = Sort.PRICE,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Show who sells a model now, best first, and why the others will not do."""
    node = node_of(home)
    from rowen.cli.quoting import show_quote

    named = tuple(provider or ())
    return show_quote(node, password_file, model, named, sort.value, as_json=as_json)


@channel_group.command("open")
def channel_open(
    providers: Annotated[
        list[str], typer.Argument(metavar="PROVIDER...", help="Multiaddresses or 0x addresses.")
    ],
    usd: Annotated[str, typer.Argument(metavar="USD", help="To lock, such as 5 or 0.50.")],
    by: By = None,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Lock money for a provider, or as much for each of many; again adds to it."""
    node = node_of(home)
    from rowen.cli.channels import open_channels

    way = by.value if by else ""
    return open_channels(node, password_file, tuple(providers), usd, way, as_json=as_json)


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
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Take the request back; the channel stays open.")
    ] = False,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Ask for the rest of a channel, and after the delay take it with --unlock."""
    node = node_of(home)
    from rowen.cli.channels import close_channel

    return close_channel(
        node, password_file, provider, takes=unlock, cancels=cancel, as_json=as_json
    )


@channel_group.command("sign")
def channel_sign(
    provider: Provider,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, for anybody to send.")],
    lock: Annotated[str, typer.Option(metavar="USD", help="Wish to lock that much.")] = "",
    leave: Annotated[bool, typer.Option("--leave", help="Wish for the channel's rest.")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Wish to take that back.")] = False,
    by: By = None,
    hours: Annotated[int, typer.Option(min=1, max=24 * 365, help="Until nobody can send it.")] = 24,
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="Write what another wallet has to sign.")
    ] = False,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Sign a wish for somebody else to send, who pays the gas; send nothing."""
    node = node_of(home)
    from rowen.cli.wishing import WishedFor, sign_wish

    wished = WishedFor(
        provider=provider,
        lock=lock,
        leaves=leave,
        stays=stay,
        by=by.value if by else "",
        hours=hours,
        elsewhere=elsewhere,
    )
    return sign_wish(node, password_file, wished, file, as_json=as_json)


@channel_group.command("send")
def channel_send(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `rowen channel sign` wrote it.")],
    signature: Annotated[
        str, typer.Option(metavar="0x…", help="Of a wallet elsewhere: 65 bytes, ERC-1271 or 6492.")
    ] = "",
    unlock: Annotated[
        bool, typer.Option("--unlock", help="Of --leave, after the delay: give the payer the rest.")
    ] = False,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Send what somebody signed, and pay its gas with this home's wallet."""
    node = node_of(home)
    from rowen.cli.wishing import send_wish

    return send_wish(node, password_file, file, signature, unlocks=unlock, as_json=as_json)
