"""The Open Inference Protocol (KServe v2) over HTTP, as pure functions of bytes. No sockets, no clock."""
