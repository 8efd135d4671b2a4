"""Says yes, no, or 202: the HTTP interface. Thin; every rule lives in ``operations``."""
