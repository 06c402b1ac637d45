"""How clients connect: HTTP and gRPC servers over any :class:`~penstock.serve.gateway.backend.Backend`.

Read :mod:`.start` first (what runs), then :mod:`.service` (what both protocols share), then
:mod:`.http_connection` and :mod:`.grpc_server`.
"""
