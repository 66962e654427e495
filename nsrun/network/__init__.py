"""The pod network: a namespace for each pod, a veth pair to one bridge, an address, and the host's ports that lead there.

``service`` is what the supervisor sees; ``podnet`` has the steps that attach one pod. Pure: ``portmap``, ``dns``, ``hosts``
and the arithmetic of ``ipam``. Doorways: ``netlink`` (rtnetlink), ``conntrack``, ``nft`` (libnftables), ``netns`` (pins).
"""
