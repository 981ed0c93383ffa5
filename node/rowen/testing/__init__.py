"""Public fakes, each held to the same tests as the real thing, and the simulator."""
