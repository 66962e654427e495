"""A pod's resolv.conf: what its dnsPolicy starts from, with its dnsConfig merged in (pkg/kubelet/network/dns). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address

from nsrun.errors import NetworkError
from nsrun.model.pod import DnsConfig, DnsPolicy, Pod

__all__ = [
    "ClusterDns",
    "Resolver",
    "limited",
    "merged",
    "parse_resolv_conf",
    "pod_resolver",
    "reachable",
    "render_resolv_conf",
    "wants_upstream_file",
]

_MAX_NAMESERVERS = 3  # MAXNS of the resolver, and the kubelet's MaxDNSNameservers
_MAX_SEARCHES = 32  # the kubelet's MaxDNSSearchPaths
_MAX_SEARCH_CHARACTERS = 2048  # the kubelet's MaxDNSSearchListChars
_MAX_SEARCH = 253  # DNS1123SubdomainMaxLength: some resolvers abort on longer ones
_CLUSTER_OPTIONS = ("ndots:5",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """What a resolv.conf says. Options as they are written: ``ndots:5``, ``rotate``."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDns:
    """Where the names of a cluster are known. Without ``servers`` no policy asks for it. ``domain`` "": it has none."""

    servers: tuple[str, ...] = ()
    domain: str = "cluster.local"


def wants_upstream_file(host: str) -> bool:
    """Whether the host asks itself only (systemd-resolved, dnsmasq): a pod cannot ask there."""
    named = parse_resolv_conf(host).nameservers
    return bool(named) and all(_is_loopback(server) for server in named)


def parse_resolv_conf(text: str) -> Resolver:
    """The last ``search`` (or ``domain``) line counts, as resolv.conf(5) says; options of all lines count."""
    said = list(_lines(text, "search", "domain"))
    names = [name.rstrip(".") or "." for name in said[-1][1:]] if said else []
    return Resolver(
        nameservers=tuple(words[1] for words in _lines(text, "nameserver") if len(words) > 1),
        searches=_distinct(names),
        options=_distinct(option for words in _lines(text, "options") for option in words[1:]),
    )


def reachable(host: Resolver) -> Resolver:
    """Without the name servers that a pod with a network of its own cannot reach: loopback ones are the host's own,
    IPv6 ones have no route from an IPv4 pod, and each would cost five seconds of every look-up."""
    return replace(host, nameservers=tuple(s for s in host.nameservers if _address(s) and not _is_loopback(s)))


def pod_resolver(pod: Pod, host: Resolver | None, cluster: ClusterDns) -> tuple[Resolver, tuple[str, ...]]:
    """What the pod's file is to say, and what had to be left out, one sentence each. ``host``: what the host's says;
    None: there is to be no way out (``--resolv-conf ""``)."""
    base, warnings = _base(pod, host, cluster)
    resolver, cut = limited(merged(base, pod.spec.dns_config))
    return resolver, (*warnings, *cut)


def _base(pod: Pod, host: Resolver | None, cluster: ClusterDns) -> tuple[Resolver, tuple[str, ...]]:
    policy, own_network = pod.spec.dns_policy, not pod.spec.host_network
    if policy is DnsPolicy.NONE:
        return Resolver(), ()
    default = host if host is not None else Resolver(nameservers=("127.0.0.1",), searches=(".",))
    with_host = policy is DnsPolicy.CLUSTER_FIRST_WITH_HOST_NET
    if not with_host and not (policy is DnsPolicy.CLUSTER_FIRST and own_network):
        return default, ()
    if cluster.servers:
        searches = (host or Resolver()).searches
        return Resolver(
            nameservers=cluster.servers,
            searches=_cluster_searches(pod.metadata.namespace, cluster.domain, searches),
            options=_CLUSTER_OPTIONS,
        ), ()
    # ClusterFirst is what a pod has that says nothing; only the other one asks for a cluster in so many words.
    asked = 'cannot ask the cluster for names as dnsPolicy "ClusterFirstWithHostNet" says: there is no --cluster-dns'
    return default, (f'{asked}; falling back to "Default"',) if with_host else ()


def _cluster_searches(namespace: str, domain: str, host: Sequence[str]) -> tuple[str, ...]:
    if not domain:
        return tuple(host)
    return _distinct([f"{namespace}.svc.{domain}", f"svc.{domain}", domain, *host])


def merged(base: Resolver, config: DnsConfig) -> Resolver:
    """Servers and searches after those there are; an option in the place of the one with its name."""
    options = dict(_split(option) for option in base.options)
    options |= {name: value or "" for name, value in config.options}
    return Resolver(
        nameservers=_distinct([*base.nameservers, *config.nameservers]),
        searches=_distinct([*base.searches, *config.searches]),
        options=tuple(f"{name}:{value}" if value else name for name, value in options.items()),
    )


def limited(resolver: Resolver) -> tuple[Resolver, tuple[str, ...]]:
    """Cut to what resolvers take, and what was cut, in the kubelet's words."""
    warnings = []
    servers = resolver.nameservers[:_MAX_NAMESERVERS]
    if servers != resolver.nameservers:
        warnings.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
            + " ".join(servers)
        )
    searches = _fit(resolver.searches)
    if searches != resolver.searches:
        warnings.append(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "
            + " ".join(searches)
        )
    return replace(resolver, nameservers=servers, searches=searches), tuple(warnings)


def render_resolv_conf(resolver: Resolver) -> str:
    """The file's text. Raises NetworkError for what would be more than one word of it."""
    out = [f"nameserver {_word(server)}" for server in resolver.nameservers]
    if not resolver.nameservers:
        out.append("# there is no name server that this pod could reach")
    if resolver.searches:
        out.append(f"search {' '.join(map(_word, resolver.searches))}")
    if resolver.options:
        out.append(f"options {' '.join(map(_word, resolver.options))}")
    return "\n".join(out) + "\n"


def _word(text: str) -> str:
    """Whatever checked it before: nothing becomes a line, a second word or a comment of its own here."""
    if not text or not text.isascii() or not text.isprintable() or set(text) & set(" #;"):
        raise NetworkError(f"cannot write resolv.conf: {text!a} is not one word")
    return text


def _lines(text: str, *keywords: str) -> Iterator[list[str]]:
    """The words of each line that starts with one of the keywords. A comment starts with ``#`` or ``;``."""
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        if words and words[0] in keywords and all(word.isascii() and word.isprintable() for word in words):
            yield words


def _fit(searches: Sequence[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for name in searches[:_MAX_SEARCHES]:
        if len(name) > _MAX_SEARCH:
            continue
        if len(" ".join([*kept, name])) > _MAX_SEARCH_CHARACTERS:
            break
        kept.append(name)
    return tuple(kept)


def _distinct(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def _split(option: str) -> tuple[str, str]:
    name, _, value = option.partition(":")
    return name, value


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except AddressValueError:
        return None


def _is_loopback(text: str) -> bool:
    address = _address(text)
    return address.is_loopback or address.is_unspecified if address is not None else text == "::1"
