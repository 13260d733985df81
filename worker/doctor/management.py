"""Examine what only RabbitMQ's management shows: bindings, and subscribers' queues."""

from collections.abc import Mapping
from typing import Any, Final

from worker.broker.management import Management, open_management
from worker.broker.topology import topology_of
from worker.broker.verification import Match, verify_bindings
from worker.doctor.findings import Report, written_out
from worker.errors import BrokerUnavailable
from worker.names import Names
from worker.settings import Settings

#: What the management calls the policies that apply to a queue, taken together.
_POLICY_IN_FORCE: Final = "effective_policy_definition"

_POLICY: Final = "import the policy call_control.subscribers of deploy/rabbitmq"


async def examine_management(settings: Settings, report: Report, address: str | None) -> None:
    """Add what is to be said of bindings and of subscribers' queues.

    Raises:
        ConfigurationError: The address is no URL of HTTP.
    """
    check = "bindings and policies"
    if address is None:
        remedy = "--management http://host:15672 looks at them; callctl topology apply binds"
        report.unknown(check, "cannot be seen over AMQP", remedy)
        return
    try:
        async with open_management(address, settings) as management:
            await _bindings(settings, report, management)
            await _subscribers(settings, report, management)
    except BrokerUnavailable as error:
        report.unknown(check, str(error), "mend --management, or what its user may see")


async def _bindings(settings: Settings, report: Report, management: Management) -> None:
    compared = await verify_bindings(
        management, topology_of(settings), Names(settings.namespace).commands
    )
    wrong = [each for each in compared if each.match is not Match.SAME]
    if wrong:
        found = f"{written_out([each.name for each in wrong])}: {wrong[0].match}"
        report.bad("bindings", found, wrong[0].why)
    else:
        report.ok("bindings", f"{len(compared)} are as they should be")


async def _subscribers(settings: Settings, report: Report, management: Management) -> None:
    names, check = Names(settings.namespace), "subscribers' queues"
    bound = {each["destination"] for each in await management.bindings_from(names.events)}
    queues = [
        each
        for each in await management.queues()
        if each["name"] in bound - {names.journal} and each.get("type") != "stream"
    ]
    # RabbitMQ collects it every few seconds.
    young = [str(each["name"]) for each in queues if _POLICY_IN_FORCE not in each]
    refusing = [str(each["name"]) for each in queues if _refuses(each)]
    endless = [str(each["name"]) for each in queues if _grows(each)]
    if refusing:
        found = f"{written_out(refusing)}: when it is full, nobody gets events"
        report.bad(check, found, f"{_POLICY}, and declare no queue with x-overflow=reject-publish")
    elif endless:
        found = f"{written_out(endless)}: grows for as long as nobody consumes it"
        report.warning(check, found, _POLICY)
    elif young:
        found = f"{written_out(young)}: not known yet whether a policy applies"
        report.unknown(check, found, "callctl doctor again in a few seconds")
    else:
        report.ok(check, f"{len(queues)}, of which none refuses or grows without an end")


def _refuses(queue: Mapping[str, Any]) -> bool:
    arguments, policy = _limits(queue)
    argument, overruling = arguments.get("x-overflow"), policy.get("overflow")
    if queue.get("type") == "classic":
        # Its argument wins over any policy.
        overflow = argument or overruling
    elif _POLICY_IN_FORCE in queue:
        overflow = overruling or argument
    else:
        return False
    return str(overflow or "").startswith("reject-publish") and _is_bounded(arguments, policy)


def _grows(queue: Mapping[str, Any]) -> bool:
    return _POLICY_IN_FORCE in queue and not _is_bounded(*_limits(queue))


def _is_bounded(arguments: Mapping[str, Any], policy: Mapping[str, Any]) -> bool:
    limits = ("max-length", "max-length-bytes")
    return any(name in policy or f"x-{name}" in arguments for name in limits)


def _limits(queue: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    # Where there is no policy, RabbitMQ says [] or nothing.
    return queue.get("arguments") or {}, queue.get(_POLICY_IN_FORCE) or {}
