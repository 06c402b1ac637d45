"""Parts of ``benchmarks/traffic.py``. They are imported after the stand-in for pydantic, if one is needed."""

from traffic_parts.plain_models import stand_in_for_pydantic

stand_in_for_pydantic()
