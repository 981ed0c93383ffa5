"""Every setting with its default and meaning; file and page about them are made from this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

DEFAULT_MODEL = "smollm2-135m-instruct-q4_1"
DEFAULT_PORT = 4137


@dataclass(frozen=True, slots=True, kw_only=True)
class Usd:
    """A default or configured amount, in token units.

    Attributes:
        units: The smallest unit of the token.
    """

    units: int


_CENT = 10_000
"""Token units of one US cent."""

PRIVATE: Final = "private"
"""Metadata of a setting that may hold an access key: of such a URL only the host is ever shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainConfig:
    """``[chain]``: where money is settled.

    Attributes:
        rpc: JSON-RPC endpoints; two or more are compared with each other.
        chain_id: EIP-155 id; every endpoint must be on it.
        escrow: Address of the RowenEscrow contract; empty until it is set.
        stake: Address of the RowenStake contract; empty where bonds play no part.
        first_block: The escrow's first block, as in its deployment record; logs are read from it.
        confirmations: Blocks on top of a deposit or claim before it counts.
        fee_max_gwei: Never more than this for a unit of gas, all included; but for a claim from a
            payer who is about to leave, up to what it saves, if costs.coin_usd is set.
    """

    rpc: tuple[str, ...] = field(
        default=("http://127.0.0.1:8545",), repr=False, metadata={PRIVATE: True}
    )
    chain_id: int = 31337
    escrow: str = ""
    stake: str = ""
    first_block: int = 0
    confirmations: int = 2
    fee_max_gwei: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """``[provider]``: what an owner sells. Prices are in US dollars.

    Attributes:
        listen: Multiaddresses to listen on.
        mdns: Whether to be found on the local network.
        model: A name from ``rowen models list``; empty for no embedded engine.
        threads: CPU threads of the engine.
        concurrency: Jobs the engine serves at the same time.
        gpus: GPUs it uses, as in [engine.NAME]; the packaged one runs on the processor alone.
        context_units: Tokens of context for each job.
        price_input: For a million input tokens.
        price_cached: For a million input tokens served from the engine's cache.
        price_output: For a million output tokens.
        price_request: For each job.
        price_hours: Hours with prices of their own, each such as "mon-fri 22:00-06:00 70%".
        token_usd: What one token is worth: prices in dollars become tokens at this rate.
        token_usd_until: Last day of that rate, such as 2026-12-31; later nothing is sold. Empty for
            ever.
        below_floor: Whether to sell below what `rowen bench` found a token to cost.
        credit: Worked ahead of payment, per channel: the worst case a client can cost.
        credit_total: The same for all clients together, within an hour.
        claim_above: Unclaimed value that makes a claim worth its gas, while costs.coin_usd is 0.
        claim_gas_percent: Of what a claim brings, gas may take so much.
        claim_age_h: A voucher that waited longer is claimed as soon as it brings more than its gas.
        claim_interval_s: How often unclaimed vouchers are looked at.
        timezone: Of the clock on the owner's wall, such as Europe/Berlin: days and hours follow it.
        sweep_above: Credit that is sent to the payout address by itself; 0 for never.
    """

    listen: tuple[str, ...] = (f"/ip4/127.0.0.1/tcp/{DEFAULT_PORT}",)
    mdns: bool = False
    model: str = DEFAULT_MODEL
    threads: int = 1
    concurrency: int = 2
    gpus: tuple[str, ...] = ()
    context_units: int = 2048
    price_input: Usd = Usd(units=5 * _CENT)
    price_cached: Usd = Usd(units=2 * _CENT)
    price_output: Usd = Usd(units=20 * _CENT)
    price_request: Usd = Usd(units=0 * _CENT)
    price_hours: tuple[str, ...] = ()
    token_usd: Usd = Usd(units=100 * _CENT)
    token_usd_until: str = ""
    below_floor: bool = False
    credit: Usd = Usd(units=2 * _CENT)
    credit_total: Usd = Usd(units=100 * _CENT)
    claim_above: Usd = Usd(units=100 * _CENT)
    claim_gas_percent: int = 5
    claim_age_h: int = 168
    claim_interval_s: int = 30
    sweep_above: Usd = Usd(units=0 * _CENT)
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsConfig:
    """``[embeddings]``: vectors of texts, made by an embedded model and sold beside the rest.

    Attributes:
        model: A name from ``rowen models list``; empty for none.
        threads: CPU threads of the engine.
        concurrency: Jobs it serves at the same time.
        context_units: Tokens of the longest text.
        price_input: For a million tokens.
        price_output: For a million numbers of the vectors.
        price_request: For each job.
    """

    model: str = ""
    threads: int = 1
    concurrency: int = 1
    context_units: int = 512
    price_input: Usd = Usd(units=2 * _CENT)
    price_output: Usd = Usd(units=0 * _CENT)
    price_request: Usd = Usd(units=0 * _CENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class OcrConfig:
    """``[ocr]``: text of pages, read on one core of the processor; needs the extra ``ocr``.

    Attributes:
        enabled: Whether it is sold.
        price_page: For each page.
        price_output: For a million characters.
        price_request: For each job.
    """

    enabled: bool = False
    price_page: Usd = Usd(units=_CENT // 10)
    price_output: Usd = Usd(units=0 * _CENT)
    price_request: Usd = Usd(units=0 * _CENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostsConfig:
    """``[costs]``: what selling costs its owner, in US dollars. 0 says that it is not known.

    Attributes:
        coin_usd: What one coin of the chain is worth; gas is paid in it.
        electricity_kwh: For a kilowatt-hour.
        wear_hour: For an hour at work: what the machine cost, over the hours it will last.
        margin_percent: On top of electricity and wear, in the least price.
        watts: What the machine draws at work, where nothing measures it.
    """

    coin_usd: Usd = Usd(units=0 * _CENT)
    electricity_kwh: Usd = Usd(units=0 * _CENT)
    wear_hour: Usd = Usd(units=0 * _CENT)
    margin_percent: int = 0
    watts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """``[client]``: how a developer buys.

    Attributes:
        payer: Wallet that funds the channels; empty for this node's own.
        providers: Multiaddresses of providers, each ending in /p2p/<PeerId>.
        mdns: Whether to look for providers on the local network.
        max_cost: One answer never costs more, in US dollars, unless asked for.
        busy_wait_s: When nobody is free, how long an answer waits for providers that said when
            to ask again.
    """

    payer: str = ""
    providers: tuple[str, ...] = ()
    mdns: bool = False
    max_cost: Usd = Usd(units=1 * _CENT)
    busy_wait_s: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchConfig:
    """``[watch]``: how the node is watched, and when its owner is called.

    Attributes:
        listen: Where /livez, /readyz and /metrics answer, on loopback; empty for nowhere.
        interval_s: How often chain, engine and disk are looked at.
        webhooks: URLs that alerts are sent to, as JSON that Slack and Discord show, too.
        unclaimed_age_s: An alert when a receipt is unclaimed for so long.
        value_at_risk: An alert when clients could leave so much unpaid.
        gas_claims: An alert when the gas money lasts for no more claims than this.
        chain_lag_s: An alert when the newest block is so old.
        stuck_s: An alert when a transaction waits for so long.
        disk_free_mb: An alert when no more than this is free where the journal is.
    """

    listen: str = f"127.0.0.1:{DEFAULT_PORT + 1}"
    interval_s: int = 15
    webhooks: tuple[str, ...] = field(default=(), repr=False, metadata={PRIVATE: True})
    unclaimed_age_s: int = 86_400
    value_at_risk: Usd = Usd(units=1_000 * _CENT)
    gas_claims: int = 20
    chain_lag_s: int = 300
    stuck_s: int = 900
    disk_free_mb: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuConfig:
    """``[gpu]``: when this machine's GPUs are lent, and what always stays yours.

    Attributes:
        watch: ``auto`` watches the GPUs if there are some; ``gpu`` insists on them; ``cpu`` yields
            to transcoders on the processor; ``none`` never yields, except to ``rowen pause``.
        only: UUIDs of the GPUs that are lent, as ``rowen gpu`` shows them; empty for all.
        hold_s: Quiet that makes a GPU free; longer than a gap between two segments of video.
        hours: When it may be lent, such as ``mon-fri 18:00-08:00``; empty for always.
        timezone: Of the hours, such as ``Europe/Berlin``; empty for the machine's own.
        reserve_mib: Device memory that stays free for your programs, whatever happens.
        need_mib: Device memory the engines want; without it a GPU is not lent.
        vram_max_mib: Device memory the engines may hold; 0 for all.
        sm_percent: Load of the cores by others that counts as your work.
        codec_percent: The same of encoder and decoder.
        ignore: Programs whose work you do not mind, such as ``Xorg``.
        engines: Programs that work for this node alone although it did not start them, and that
            do not answer at a port of this machine themselves, such as workers of Ray.
        transcoders: Programs whose work is yours, where the processor is watched.
        overrides: Other settings for single GPUs, such as
            ``GPU-1a2b… reserve_mib=8192 hours="22:00-07:00"``.
        end_s: Most time for jobs to end when you return.
        release_s: After that, most time for an engine to release its memory before it is stopped.
    """

    watch: str = "auto"
    only: tuple[str, ...] = ()
    hold_s: int = 60
    hours: tuple[str, ...] = ()
    timezone: str = ""
    reserve_mib: int = 0
    need_mib: int = 0
    vram_max_mib: int = 0
    sm_percent: int = 5
    codec_percent: int = 1
    ignore: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    transcoders: tuple[str, ...] = (
        "ffmpeg",
        "HandBrakeCLI",
        "ghb",
        "gst-launch-1.0",
        "obs",
        "Plex Transcoder",
    )
    overrides: tuple[str, ...] = ()
    end_s: int = 2
    release_s: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """``[engine.NAME]``: an engine behind HTTP, sold beside the embedded one.

    Attributes:
        kind: vllm, sglang, llamacpp, ollama, nim, ray, or openai for any other.
        url: Where it answers.
        api_key: What it wants to be shown, if anything.
        served: The model's name there; empty when it serves only one.
        model: Name to offer it under; empty for the same.
        precision: Quantisation, such as awq or bf16; empty for what the engine says.
        weights_sha256: Of the weights, in hex; empty says nothing.
        context_units: Largest input + output in tokens; 0 for what the engine says.
        concurrency: Jobs at the same time; 0 for what the engine says, or 8.
        output_units_max: Longest answer sold, in tokens.
        kinds: What it is sold for: chat, completion, or embeddings alone; empty for what it does.
        price_input: For a million input tokens.
        price_cached: For a million input tokens served from the engine's cache.
        price_output: For a million output tokens.
        price_request: For each job.
        gpus: GPUs it uses, each by its index or the beginning of its UUID in `rowen gpu`; empty
            for all that are lent. One that the node starts sees no others.
        command: Starts it, one text a word; {host} and {port} are those of `url`. Empty for an
            engine that you run yourself.
        environment: Set for the command, each NAME=value.
        start_s: How long it may take to be ready.
    """

    kind: str = "openai"
    url: str = field(default="http://127.0.0.1:8000", repr=False, metadata={PRIVATE: True})
    api_key: str = field(default="", repr=False, metadata={PRIVATE: True})
    served: str = ""
    model: str = ""
    precision: str = ""
    weights_sha256: str = ""
    context_units: int = 0
    concurrency: int = 0
    output_units_max: int = 4096
    kinds: tuple[str, ...] = ()
    price_input: Usd = Usd(units=5 * _CENT)
    price_cached: Usd = Usd(units=2 * _CENT)
    price_output: Usd = Usd(units=20 * _CENT)
    price_request: Usd = Usd(units=0 * _CENT)
    gpus: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = field(default=(), repr=False, metadata={PRIVATE: True})
    start_s: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings.

    Attributes:
        chain: See ``ChainConfig``.
        provider: See ``ProviderConfig``.
        embeddings: See ``EmbeddingsConfig``.
        ocr: See ``OcrConfig``.
        costs: See ``CostsConfig``.
        client: See ``ClientConfig``.
        watch: See ``WatchConfig``.
        gpu: See ``GpuConfig``.
        engines: By name; see ``EngineConfig``.
        origins: Where each value comes from, by ``section.key``: ``default``,
            ``FILE:LINE``, ``env:NAME`` or ``flag:--set``.
    """

    chain: ChainConfig = ChainConfig()
    provider: ProviderConfig = ProviderConfig()
    embeddings: EmbeddingsConfig = EmbeddingsConfig()
    ocr: OcrConfig = OcrConfig()
    costs: CostsConfig = CostsConfig()
    client: ClientConfig = ClientConfig()
    watch: WatchConfig = WatchConfig()
    gpu: GpuConfig = GpuConfig()
    engines: Mapping[str, EngineConfig] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)


SECTIONS: Final[Mapping[str, type[Any]]] = {
    "chain": ChainConfig,
    "provider": ProviderConfig,
    "embeddings": EmbeddingsConfig,
    "ocr": OcrConfig,
    "costs": CostsConfig,
    "client": ClientConfig,
    "watch": WatchConfig,
    "gpu": GpuConfig,
}
"""Tables of the file, by name."""

ENGINE: Final = "engine"
"""Table of the tables ``[engine.NAME]``; there may be any number of them, or none."""
