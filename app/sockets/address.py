"""The listening socket, and its address as a URL."""

import errno
import ipaddress
import socket
from dataclasses import dataclass

from app.settings import PREFIX, Settings, SettingsError


def bound_socket(settings: Settings) -> socket.socket:
    """A socket at the address of the settings, which does not listen yet.

    Raises:
        SettingsError: that is not possible; the sentence says why, and which variable to change.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = None
    try:
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((settings.host, settings.port))
    except (OSError, UnicodeError) as error:
        if bound is not None:
            bound.close()
        raise SettingsError(_sentence(settings, error)) from None
    return bound


def inherited_socket(fd: int) -> socket.socket:
    """The bound socket that this process has inherited as a descriptor.

    Raises:
        SettingsError: the descriptor is no TCP socket, or not bound to an address.
    """
    try:
        inherited = socket.socket(fileno=fd)
    except OSError as error:
        raise SettingsError(f"--fd {fd} is no socket: {error.strerror}.") from None
    except OverflowError:
        raise SettingsError(f"--fd {fd} is no socket: descriptors are small numbers.") from None
    tcp = inherited.family in (socket.AF_INET, socket.AF_INET6)
    if not tcp or inherited.type != socket.SOCK_STREAM or not inherited.getsockname()[1]:
        inherited.detach()
        raise SettingsError(f"--fd {fd} must be a TCP socket that is bound to an address.")
    return inherited


def listen(bound: socket.socket, settings: Settings) -> None:
    """Accept connections. Two sockets may be bound to one address, but only one may listen.

    Raises:
        SettingsError: the socket of another process listens already.
    """
    try:
        bound.listen()
    except OSError as error:
        raise SettingsError(_sentence(settings, error)) from None


def _sentence(settings: Settings, error: Exception) -> str:
    host, port = f"{PREFIX}HOST={settings.host}", f"{PREFIX}PORT={settings.port}"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return (
            f"{port}: another program listens on that port of {settings.host} already. End it, or "
            f"choose another port with {PREFIX}PORT; 0 takes a free one."
        )
    if number in (errno.EACCES, errno.EPERM):
        return (
            f"{port}: this user may not listen there; ports below 1024 are usually for root. "
            f"Choose another port with {PREFIX}PORT, such as 8080."
        )
    if number == errno.EADDRNOTAVAIL:
        return (
            f"{host} is no address of this machine. 127.0.0.1 is reached from this machine only, "
            "0.0.0.0 is every address it has."
        )
    if number == errno.EAFNOSUPPORT:
        return f"{host}: this machine has no IPv6. Choose another address, such as 0.0.0.0."
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"{host} is no address and no name that is known here: {error}."
    return f"cannot listen on {host}, {port}: {error}."


@dataclass(frozen=True, slots=True)
class Address:
    """The URL of a listening socket, http://0.0.0.0:8080 or http://[::1]:8080, and the one that a
    browser on this machine can open: 0.0.0.0 is every address, and none of a page."""

    url: str
    browser_url: str


def address_of(listener: socket.socket) -> Address:
    """The address of a socket that is open."""
    host, port = listener.getsockname()[:2]
    reachable, address = host, ipaddress.ip_address(host)
    if address.is_unspecified:
        reachable = "127.0.0.1" if address.version == 4 else "::1"
    return Address(f"http://{_in_url(host)}:{port}", f"http://{_in_url(reachable)}:{port}")


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
