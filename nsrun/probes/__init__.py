"""Questions to a pod over its network: http, tcp and grpc, as the kubelet asks them (pkg/probe)."""
