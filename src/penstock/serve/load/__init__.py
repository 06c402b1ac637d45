"""Load for any server of the Open Inference Protocol: open or closed, HTTP or gRPC, random inputs or video."""
