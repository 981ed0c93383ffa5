"""Server-sent events, as engines stream their answers: framing only, no I/O.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from rowen.protocol.errors import Unavailable

EVENT_BYTES_MAX = 1 << 20


class EventReader:
    """Cuts a byte stream into the data of its events."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, raw: bytes) -> list[bytes]:
        """Takes what arrived.

        Returns:
            The data of each event that is complete now, in order; comments and events without
            data are left out.

        Raises:
            Unavailable: One event is longer than any engine's should be.
        """
        lines = (self._rest + raw).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) + sum(map(len, self._data)) > EVENT_BYTES_MAX:
            raise Unavailable(f"the engine sent an event of more than {EVENT_BYTES_MAX} bytes")
        events: list[bytes] = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                # "If the data buffer's last character is U+000A, remove it": lines are joined.
                events.append(b"\n".join(self._data))
                self._data = []
        return events
