"""What a pod is: values, how they are read from documents, defaulted, validated and written again. No I/O."""
