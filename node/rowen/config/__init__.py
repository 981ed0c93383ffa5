"""Settings: one TOML file, then ``ROWEN_*`` variables, then flags, in one frozen object."""

from rowen.config.reading import load_config
from rowen.config.sections import (
    DEFAULT_MODEL,
    DEFAULT_PORT,
    ENGINE,
    PRIVATE,
    SECTIONS,
    ChainConfig,
    ClientConfig,
    Config,
    EngineConfig,
    GpuConfig,
    ProviderConfig,
    Usd,
    WatchConfig,
)

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_PORT",
    "ENGINE",
    "PRIVATE",
    "SECTIONS",
    "ChainConfig",
    "ClientConfig",
    "Config",
    "EngineConfig",
    "GpuConfig",
    "ProviderConfig",
    "Usd",
    "WatchConfig",
    "load_config",
]
