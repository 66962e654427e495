"""Where manifests come from: text in, desired pods out."""
