"""The Open Inference Protocol (KServe v2) over HTTP, as functions of bytes that use no sockets and no clock."""
