"""A stand-in for pydantic on a borrowed GPU machine that has numpy and PyTorch and nothing else."""

from __future__ import annotations

import json
import sys
import types
from typing import Any


def stand_in_for_pydantic() -> None:
    """Where pydantic is not installed (a borrowed GPU machine), let its models be plain: nothing here is validated."""
    try:
        import pydantic  # noqa: F401
    except ImportError:
        pass
    else:
        return

    class Plain(types.SimpleNamespace):
        def __getattr__(self, name: str) -> None:
            if name.startswith("__"):
                raise AttributeError(name)

        @classmethod
        def model_validate_json(cls, text: str, **_: Any) -> Any:
            return json.loads(text, object_hook=lambda fields: Plain(**fields))

        def model_copy(self, update: dict[str, Any]) -> Any:
            return type(self)(**{**vars(self), **update})

    module: Any = types.ModuleType("pydantic")
    module.BaseModel, module.ConfigDict, module.ValidationError = Plain, dict, ValueError
    for name in ("AfterValidator", "Field", "StringConstraints", "model_validator", "field_validator"):
        setattr(module, name, lambda *_, **__: None)
    sys.modules["pydantic"] = module
