"""The live page: static files that the gateway serves at ``/dashboard``. The page reads ``/metrics`` alone."""
