"""contract.md read by somebody who has not seen the code: a call as plain ifs on strings."""

from dataclasses import dataclass, field

#: An expected event: canonical name, status, head of the reason, id of the command it answers.
Expected = tuple[str, int, str, str | None]

#: Endpoints as they are written, and whose they are: visual separators make no difference.
PEOPLE = {
    "tel:+18164388687": "alice",
    "tel:+1-816-438-8687": "alice",
    "tel:+18166623395": "carol",
    "TEL:+1(816)662.3395": "carol",
    "sip:dave@example.com": "dave",
}


@dataclass
class Waiting:
    """A command that the network has not answered."""

    name: str
    id: str
    event: str
    endpoint: str
    from_nothing: bool


@dataclass
class NaiveCall:
    """One call by the letter of the contract."""

    state: str = "absent"
    held: bool = False
    muted: bool = False
    incoming: bool = False
    origin: str | None = None
    destination: str | None = None
    waiting: Waiting | None = None
    said: list[Expected] = field(default_factory=list)

    def fail(self, status: int, reason: str, command_id: str) -> None:
        """Refuse a command."""
        self.said.append(("call_control_failed", status, reason, command_id))

    def end(self) -> None:
        """End the call."""
        self.state = "ended"
        self.held = self.muted = False

    def command(
        self, name: str, command_id: str, endpoint: str, origin: str, destination: str
    ) -> None:
        """Take a command."""
        if self.waiting is not None:
            if name != "disconnect" or self.waiting.name == "disconnect":
                self.fail(409, "Conflict", command_id)
                return
            self.fail(487, "Request Terminated", self.waiting.id)
            self.waiting = None
        verdict = self.verdict(name, endpoint)
        if verdict == 409:
            self.fail(409, "Conflict", command_id)
        elif verdict == 481:
            over = self.state == "ended"
            self.fail(481, "Call Has Ended" if over else "Call Does Not Exist", command_id)
        elif verdict == 200:
            self.said.append((self.event(name), 200, "OK", command_id))
        else:
            from_nothing = self.state == "absent"
            self.waiting = Waiting(name, command_id, self.event(name), endpoint, from_nothing)
            if name == "call":
                self.state, self.origin, self.destination = "dialing", origin, destination
            elif from_nothing:
                self.state, self.incoming, self.origin = "offered", True, endpoint

    def verdict(self, name: str, endpoint: str) -> int | None:
        """Return the status of an answer that needs no network, or None."""
        if name == "call":
            return None if self.state == "absent" else 409
        if name == "disconnect":
            return {"absent": 481, "ended": 200}.get(self.state)
        if self.state == "offered":
            return self.verdict_on_offer(name, endpoint)
        if self.state == "connected":
            return self.verdict_when_connected(name, endpoint)
        if self.state == "absent" and name in ("accept", "reject"):
            return None
        return 409 if self.state in ("dialing", "ringing") else 481

    def verdict_on_offer(self, name: str, endpoint: str) -> int | None:
        """Return the verdict while the call is offered."""
        if name in ("accept", "reject"):
            return None if self.offered_by(endpoint) else 409
        return None if name in ("transfer", "redirect") else 409

    def verdict_when_connected(self, name: str, endpoint: str) -> int | None:
        """Return the verdict while the parties are connected."""
        again = name == "accept" and not self.held and self.offered_by(endpoint)
        verdicts = {
            "transfer": None,
            "hold": 200 if self.held else None,
            "retrieve": None if self.held else 200,
            "mute": 200 if self.muted else None,
            "un_mute": None if self.muted else 200,
            "dial": 409 if self.held else None,
            "accept": 200 if again else 409,
        }
        return verdicts.get(name, 409)

    def offered_by(self, endpoint: str) -> bool:
        """Tell whether the call came in, and from this endpoint."""
        return self.incoming and PEOPLE[self.origin or ""] == PEOPLE[endpoint]

    def event(self, name: str) -> str:
        """Return the event of a command's success."""
        if name == "transfer" and self.state == "offered":
            return "call_redirected"
        return {
            "call": "call_connected",
            "disconnect": "call_terminated",
            "transfer": "call_transferred",
            "redirect": "call_redirected",
            "hold": "call_held",
            "retrieve": "call_retrieved",
            "dial": "digits_dialed",
            "mute": "call_muted",
            "un_mute": "call_un_muted",
            "accept": "call_accepted",
            "reject": "call_rejected",
        }[name]

    def offered(self, origin: str, destination: str) -> None:
        """Hear of an incoming call."""
        if self.state == "absent":
            self.state, self.incoming = "offered", True
            self.origin, self.destination = origin, destination
            self.said.append(("call_offered", 200, "OK", None))

    def ringing(self) -> None:
        """Hear the destination ring."""
        if self.state == "dialing":
            self.state = "ringing"
            self.said.append(("call_ringing", 180, "Ringing", None))

    def ended(self, status: int, reason: str) -> None:
        """Hear that the call is over."""
        if self.state in ("absent", "ended"):
            return
        waiting, self.waiting = self.waiting, None
        self.end()
        if waiting is not None and waiting.name == "disconnect":
            self.said.append(("call_terminated", 200, "OK", waiting.id))
            return
        if waiting is not None:
            self.fail(487, "Request Terminated", waiting.id)
        self.said.append(("call_terminated", status, reason, None))

    def failed(self, action_id: str | None, status: int, reason: str) -> None:
        """Hear that an action failed."""
        waiting = self.waiting
        if waiting is None and self.state in ("dialing", "ringing"):
            # Of the call itself, whose command a disconnect has overtaken that failed.
            self.ended(status, reason)
            return
        if waiting is None or waiting.id != action_id:
            return
        self.waiting = None
        self.fail(status, reason, waiting.id)
        if waiting.from_nothing:
            self.state, self.incoming = "absent", False
            self.origin = self.destination = None

    def granted(self, action_id: str | None) -> None:
        """Hear that an action succeeded."""
        waiting = self.waiting
        if waiting is None or waiting.id != action_id:
            return
        self.waiting = None
        event = waiting.event
        self.said.append((event, 200, "OK", waiting.id))
        if event in ("call_connected", "call_accepted", "call_redirected"):
            self.state = "connected"
        if event in ("call_transferred", "call_redirected"):
            self.destination = waiting.endpoint
        if event in ("call_transferred", "call_retrieved"):
            self.held = False
        if event == "call_held":
            self.held = True
        if event in ("call_muted", "call_un_muted"):
            self.muted = event == "call_muted"
        if event in ("call_terminated", "call_rejected"):
            self.end()
