"""The pod network: for each pod a namespace, a veth pair to one bridge, an address, and host ports that lead there.

``service`` is what the supervisor sees; ``podnet`` has the steps that attach one pod. Pure: ``portmap``, ``dns``,
``hosts`` and the arithmetic of ``ipam``. Doorways: ``netlink`` (pyroute2), ``nft`` (libnftables), ``netns`` (pins).
"""
