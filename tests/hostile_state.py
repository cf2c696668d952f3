"""What the hostile upstream was told, and what it counted."""

import threading
from dataclasses import dataclass, field

from hostile_talk import JSONDict

DEFAULT = {
    "kind": "answer",
    "text": "Hello from upstream",
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "chunks": 3,
    "usage": "true",
    "details": {},
    "usage_chunk": "asked",
    "finish_reason": "stop",
    "done": True,
    "error_after": None,
    "error": None,
    "message": {},
    "calls": [],
    "dialect": "auto",
    "obey_maximum": True,
}


@dataclass
class State:
    """Everything that is told and counted."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    scripts: dict[str | None, list[JSONDict]] = field(default_factory=dict)
    gates: dict[str, threading.Event] = field(default_factory=dict)
    requests: list[JSONDict] = field(default_factory=list)
    connections: int = 0
    in_hand: int = 0
    most_at_once: int = 0
    generation: int = 0

    def reset(self) -> None:
        """Begin again."""
        with self.lock:
            self.scripts.clear()
            self.gates.clear()
            self.requests.clear()
            self.connections = self.most_at_once = 0
            self.generation += 1

    def next_step(self, model: str) -> JSONDict:
        """The step for a request with that model."""
        with self.lock:
            steps = self.scripts.get(model) or self.scripts.get(None) or [DEFAULT]
            return steps.pop(0) if len(steps) > 1 else steps[0]

    def accepted(self) -> tuple[int, bool]:
        """The new connection's number, and whether it is to be dropped."""
        with self.lock:
            self.connections += 1
            steps = self.scripts.get(None) or [DEFAULT]
            dropped = steps[0]["kind"] == "drop"
            if dropped and len(steps) > 1:
                steps.pop(0)
            return self.connections, dropped

    def gate(self, name: str) -> threading.Event:
        """The gate of that name."""
        with self.lock:
            return self.gates.setdefault(name, threading.Event())

    def begin(self, record: JSONDict) -> None:
        """A request has been read."""
        with self.lock:
            record["number"] = len(self.requests) + 1
            self.requests.append(record)
            self.in_hand += 1
            self.most_at_once = max(self.most_at_once, self.in_hand)

    def end(self) -> None:
        """A request is out of hand."""
        with self.lock:
            self.in_hand -= 1

    def report(self) -> JSONDict:
        """What `GET /__seen` says."""
        with self.lock:
            return {
                "requests": [dict(record) for record in self.requests],
                "connections": self.connections,
                "most_at_once": self.most_at_once,
            }
