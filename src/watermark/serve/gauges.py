"""Gauges: what the service counts, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0)  # seconds of one look
OTHER = "other"  # every path that is no route: strangers choose those


class Gauges:
    """Counters of one process. No label is a stranger's choice."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.refused: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.looks: Counter[float] = Counter()
        self.look_seconds = 0.0
        self.look_count = 0
        self.in_flight = 0

    def looked(self, seconds: float) -> None:
        """One look at a content took so long."""
        self.look_seconds += seconds
        self.look_count += 1
        self.looks.update(bound for bound in BUCKETS if seconds <= bound)

    def text(self, **now: int) -> str:
        """All of them.

        Args:
            now: further gauges, by name.
        """
        return "\n".join([*self._lines(now), ""])

    def _lines(self, now: dict[str, int]) -> Iterator[str]:
        name = "wm_requests_total"
        yield f"# TYPE {name} counter"
        for (method, route, status), count in sorted(self.requests.items()):
            labels = f'method="{method}",route="{route}",status="{status}"'
            yield f"{name}{{{labels}}} {count}"
        for name, label, counter in (
            ("wm_refused_total", "reason", self.refused),
            ("wm_verdicts_total", "verdict", self.verdicts),
        ):
            yield f"# TYPE {name} counter"
            for value, count in sorted(counter.items()):
                yield f'{name}{{{label}="{value}"}} {count}'
        yield "# TYPE wm_look_seconds histogram"
        for bound in BUCKETS:
            yield f'wm_look_seconds_bucket{{le="{bound}"}} {self.looks[bound]}'
        yield f'wm_look_seconds_bucket{{le="+Inf"}} {self.look_count}'
        yield f"wm_look_seconds_sum {self.look_seconds:.6f}"
        yield f"wm_look_seconds_count {self.look_count}"
        for gauge, level in {"requests_in_flight": self.in_flight, **now}.items():
            yield f"# TYPE wm_{gauge} gauge"
            yield f"wm_{gauge} {level}"
