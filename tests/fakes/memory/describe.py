from adapters.description import Capabilities, Description, Strict


class Config(Strict):
    size: int = 1
    share: float = 1.0


class Settings(Strict):
    pass


DESCRIPTION = Description(
    scheme="memory",
    title="Memory",
    config_model=Config,
    settings_model=Settings,
    capabilities=Capabilities(max_variants=10, can_split=True, can_pin=True, has_preconditions=True, can_adopt=True),
    deadline_seconds=3600.0,
    look_seconds=1.0,
)
