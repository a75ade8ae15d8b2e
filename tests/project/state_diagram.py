"""docs/state-diagram.md, from the table of states."""

from collections import defaultdict

from gateway.smtp.state import TRANSITIONS, State

__all__ = ["state_diagram_page"]

_HEAD = """\
# The states of a session

Generated from `TRANSITIONS` in `gateway/smtp/state.py`: every step that a server session can take; there are no others.
The causes are named as there. From every state a session can also be closed.

```mermaid
stateDiagram-v2
    [*] --> START
"""


def state_diagram_page() -> str:
    arrows: dict[tuple[State, State], list[str]] = defaultdict(list)
    for state, causes in TRANSITIONS.items():
        for cause, target in causes.items():
            # An arrow to CLOSED from each state would hide all others.
            if target is not State.CLOSED:
                arrows[state, target].append(cause.name.lower().replace("_", " "))
    lines = [f"    {state.name} --> {target.name}: {', '.join(causes)}" for (state, target), causes in arrows.items()]
    return _HEAD + "\n".join(lines) + "\n```\n"
