"""Files between the host and containers: where they come from and go to (``places``), trees that are read (``tree``)
and written (``target``), and archives (``archive``).

A container's side is hostile: what is there may be anything, and may become something else at any moment. So its paths
are resolved by the kernel below a descriptor of its root, everything found is used by descriptor, and nothing is
looked at under one name and used under another.
"""
